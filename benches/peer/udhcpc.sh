#!/bin/sh
# What udhcpc has learned, as an address, a route and a resolver.
case $1 in
bound | renew)
	ip addr replace "$ip/${mask:-24}" dev "$interface"
	for r in $router; do ip route replace default via "$r" dev "$interface"; done
	for d in $dns; do echo "nameserver $d"; done >/etc/resolv.conf
	;;
esac

//! The client against a server in virtual time, over a network that loses packets.

#[cfg(test)]
mod tests {
    use crate::net::pure::dhcp::client::{Action, Client};
    use crate::net::pure::dhcp::frame::tests::to_client;
    use crate::net::pure::dhcp::message::tests::{reply, MAC};
    use core::net::Ipv4Addr;
    use std::collections::BTreeMap;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const SERVER: [u8; 4] = [10, 0, 2, 2];
    const LOSS_PERCENT: u32 = 30;
    const DELAY_MS: u64 = 2;

    /// A network with one server, from a seed.
    struct Network {
        state: u32,
        loss_percent: u32,
        /// The server answers from then on.
        serves_from_ms: u64,
        lease_s: u32,
        first_answer_ms: Option<u64>,
        /// Packets under way to the client, by their time.
        to_client: BTreeMap<(u64, u32), Vec<u8>>,
    }

    impl Network {
        fn new(seed: u32, loss_percent: u32) -> Network {
            let state = seed.wrapping_mul(0x9e37_79b9) | 1;
            let to_client = BTreeMap::new();
            Network { state, loss_percent, serves_from_ms: 0, lease_s: 600, first_answer_ms: None, to_client }
        }

        fn random(&mut self) -> u32 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            self.state
        }

        fn is_lost(&mut self) -> bool {
            self.random() % 100 < self.loss_percent
        }

        /// A client's message on its way to the server, and the answer on its way back.
        fn send(&mut self, now_ms: u64, payload: &[u8]) {
            let kind = match payload[242] {
                1 => 2,
                3 => 5,
                _ => return,
            };
            if self.is_lost() || now_ms < self.serves_from_ms {
                return;
            }
            let xid = u32::from_be_bytes(payload[4..8].try_into().unwrap());
            let lease = self.lease_s.to_be_bytes();
            let options: [(u8, &[u8]); 5] =
                [(54, &SERVER), (51, &lease), (1, &[255, 255, 255, 0]), (3, &SERVER), (6, &SERVER)];
            self.first_answer_ms.get_or_insert(now_ms + DELAY_MS);
            if !self.is_lost() {
                let key = (now_ms + DELAY_MS, self.random());
                self.to_client.insert(key, to_client(&reply(kind, xid, ADDRESS, &options)));
            }
        }

        /// Lets the client run until it is bound; the time of that.
        fn until_bound(&mut self, client: &mut Client, mut now_ms: u64, limit_ms: u64) -> Option<u64> {
            loop {
                match client.poll(now_ms) {
                    Action::Bound(_) => return Some(now_ms),
                    Action::Broadcast(packet) => self.send(now_ms, &packet[28..]),
                    Action::Unicast(_, payload) => self.send(now_ms, &payload),
                    Action::Idle => {
                        let arrival_ms = self.to_client.keys().next().map(|(at_ms, _)| *at_ms);
                        now_ms = client.next_wake().into_iter().chain(arrival_ms).min()?.max(now_ms);
                        if now_ms > limit_ms {
                            return None;
                        }
                        if arrival_ms == Some(now_ms) {
                            let (_, packet) = self.to_client.pop_first()?;
                            client.handle(now_ms, &packet);
                        }
                    }
                    Action::Probe(_) | Action::Lost | Action::InUse(..) => {}
                }
            }
        }
    }

    /// Promise: dhcp-loss
    #[test]
    fn with_30_percent_loss_each_way_300_of_300_are_bound_within_120_s() {
        let mut times: Vec<u64> = (0..300)
            .map(|seed| {
                let mut network = Network::new(seed, LOSS_PERCENT);
                let mut client = Client::new(0, MAC, seed.wrapping_mul(0x85eb_ca6b) ^ 0xc2b2_ae35);
                network.until_bound(&mut client, 0, 120_000).unwrap_or_else(|| panic!("seed {seed}: not within 120 s"))
            })
            .collect();
        times.sort_unstable();
        eprintln!("bound after {} ms (median), {} ms (the slowest of 300)", times[150], times[299]);
    }

    /// Promise: dhcp-loss
    #[test]
    fn a_server_that_starts_ten_minutes_late_is_served_within_5_s_of_its_first_answer() {
        for seed in 0..300 {
            let mut network = Network { serves_from_ms: 600_000, ..Network::new(seed, 0) };
            let mut client = Client::new(0, MAC, seed ^ 0x5555_5555);
            let bound_ms = network.until_bound(&mut client, 0, 700_000).unwrap();
            let first_ms = network.first_answer_ms.unwrap();
            assert!(first_ms < 605_000 && bound_ms - first_ms <= 5_000, "seed {seed}: {first_ms}, {bound_ms}");
        }
    }

    /// Promise: renewals
    #[test]
    fn twenty_thousand_renewals_take_no_memory() {
        let mut network = Network { lease_s: 60, ..Network::new(7, 10) };
        let mut client = Client::new(0, MAC, 7);
        let mut now_ms = network.until_bound(&mut client, 0, 120_000).unwrap();
        let mut held = Vec::new();
        for round in 0..20_000 {
            now_ms = network.until_bound(&mut client, now_ms, u64::MAX).unwrap();
            if round % 1_000 == 0 {
                held.push(client.held_bytes());
            }
        }
        assert!(now_ms > 20_000 * 20_000, "{now_ms}");
        assert!(held.iter().all(|bytes| *bytes <= held[0]), "{held:?}");
    }
}

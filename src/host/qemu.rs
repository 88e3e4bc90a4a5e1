//! A machine in QEMU: by KVM where it works, else by software emulation.

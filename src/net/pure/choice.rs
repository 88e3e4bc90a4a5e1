//! Which interface's network a machine takes, and how long it waits for a better one.

/// What an interface's network gives; a later one is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    /// An address that no router forwards (169.254/16, RFC 3927), as a BMC's USB card gives.
    LinkLocal,
    /// An address, without default route or name server.
    Partial,
    Whole,
}

/// An interface, as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub carrier: bool,
    /// The machine was booted by it (`BOOTIF=`).
    pub preferred: bool,
    /// What it has, and since when something like it was offered.
    pub have: Option<(Quality, u64)>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take this candidate.
    Take(usize),
    /// Nothing before this time, unless something changes.
    Wait(u64),
    /// There is none, and this was the limit in ms.
    GiveUp(u64),
}

/// When the wait began, and its limits.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub started_ms: u64,
    pub lease_ms: u64,
    /// While no interface has a carrier.
    pub carrier_ms: u64,
}

/// How long the best network so far waits for a better one.
pub const GRACE_MS: u64 = 3_000;

/// How long a network of link-local addresses waits for one, as a switch's port may begin to forward late.
const LINK_LOCAL_MS: u64 = 60_000;

/// A whole network is taken at once, a partial one after a while. So is another's than the preferred interface's, while
/// that has a carrier. One of link-local addresses is taken only when nothing else can come any more.
pub fn decide(candidates: &[Candidate], wait: &Wait, now_ms: u64) -> Decision {
    let carriers = candidates.iter().filter(|one| one.carrier).count();
    let limit_ms = if carriers > 0 { wait.lease_ms } else { wait.carrier_ms };
    let rank = |one: &Candidate| one.have.map(|(quality, _)| (quality != Quality::LinkLocal, one.preferred, quality));
    // Of equals the first is the best.
    let best = candidates.iter().enumerate().rev().max_by_key(|(_, one)| rank(one));
    let Some((at, one, (quality, since_ms))) = best.and_then(|(at, one)| Some((at, one, one.have?))) else {
        let end_ms = wait.started_ms.saturating_add(limit_ms);
        return if now_ms >= end_ms { Decision::GiveUp(limit_ms) } else { Decision::Wait(end_ms) };
    };
    let preferred_may_come = !one.preferred && candidates.iter().any(|other| other.preferred && other.carrier);
    let end_ms = match quality {
        Quality::Whole if !preferred_may_come => now_ms,
        Quality::Whole | Quality::Partial => since_ms.saturating_add(GRACE_MS),
        Quality::LinkLocal if carriers > 1 => wait.started_ms.saturating_add(wait.lease_ms.min(LINK_LOCAL_MS)),
        Quality::LinkLocal if candidates.len() > 1 => wait.started_ms.saturating_add(wait.carrier_ms),
        Quality::LinkLocal => since_ms.saturating_add(GRACE_MS),
    };
    if now_ms >= end_ms {
        Decision::Take(at)
    } else {
        Decision::Wait(end_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Wait = Wait { started_ms: 1_000, lease_ms: 60_000, carrier_ms: 15_000 };
    const IDLE: Candidate = Candidate { carrier: true, preferred: false, have: None };

    fn with(quality: Quality, since_ms: u64) -> Candidate {
        Candidate { have: Some((quality, since_ms)), ..IDLE }
    }

    #[test]
    fn a_whole_network_is_taken_at_once_and_a_partial_one_waits() {
        let whole = with(Quality::Whole, 2_000);
        assert_eq!(decide(&[IDLE, whole], &WAIT, 2_000), Decision::Take(1));
        let partial = with(Quality::Partial, 2_000);
        assert_eq!(decide(&[partial, IDLE], &WAIT, 2_000), Decision::Wait(5_000));
        assert_eq!(decide(&[partial, whole], &WAIT, 2_500), Decision::Take(1));
        assert_eq!(decide(&[partial, IDLE], &WAIT, 5_000), Decision::Take(0));
        assert_eq!(decide(&[partial, partial], &WAIT, 5_000), Decision::Take(0), "of equals the first");
    }

    #[test]
    fn a_link_local_address_is_taken_when_nothing_else_can_come() {
        let usb = with(Quality::LinkLocal, 1_500);
        assert_eq!(decide(&[usb, IDLE], &WAIT, 40_000), Decision::Wait(61_000), "the switch may begin to forward");
        assert_eq!(decide(&[usb, with(Quality::Partial, 30_000)], &WAIT, 33_000), Decision::Take(1));
        let patient = Wait { lease_ms: 900_000, ..WAIT };
        assert_eq!(decide(&[usb, IDLE], &patient, 40_000), Decision::Wait(61_000));
        let unplugged = Candidate { carrier: false, ..IDLE };
        assert_eq!(decide(&[usb, unplugged], &WAIT, 2_000), Decision::Wait(16_000));
        assert_eq!(decide(&[usb, unplugged], &WAIT, 16_000), Decision::Take(0));
        assert_eq!(decide(&[usb], &WAIT, 4_500), Decision::Take(0));
    }

    #[test]
    fn the_interface_that_the_machine_was_booted_by_is_preferred() {
        let whole = with(Quality::Whole, 2_000);
        let mut boot = Candidate { preferred: true, ..IDLE };
        assert_eq!(decide(&[whole, boot], &WAIT, 2_000), Decision::Wait(5_000));
        assert_eq!(decide(&[whole, boot], &WAIT, 5_000), Decision::Take(0));
        boot.carrier = false;
        assert_eq!(decide(&[whole, boot], &WAIT, 2_000), Decision::Take(0), "its cable is not plugged in");
        boot = Candidate { carrier: true, have: Some((Quality::Partial, 2_000)), ..boot };
        assert_eq!(decide(&[whole, boot], &WAIT, 5_000), Decision::Take(1));
        boot.have = Some((Quality::LinkLocal, 2_000));
        assert_eq!(decide(&[whole, boot], &WAIT, 5_000), Decision::Take(0));
    }

    #[test]
    fn without_any_the_wait_ends_by_whether_there_is_a_carrier() {
        let unplugged = Candidate { carrier: false, ..IDLE };
        assert_eq!(decide(&[], &WAIT, 15_999), Decision::Wait(16_000));
        assert_eq!(decide(&[unplugged], &WAIT, 16_000), Decision::GiveUp(15_000));
        assert_eq!(decide(&[unplugged, IDLE], &WAIT, 16_000), Decision::Wait(61_000));
        assert_eq!(decide(&[IDLE], &WAIT, 61_000), Decision::GiveUp(60_000));
    }
}

//! Hostile name servers, over loopback: each odd or forged answer is an error that says so, or waited past.

#[cfg(test)]
mod tests {
    use crate::net::dns::tests::{reply, with, OK, TRUNCATED};
    use crate::net::dns::{Kind, Resolver};
    use crate::net::udp::tests::serve;
    use std::net::{IpAddr, TcpListener, UdpSocket};
    use std::thread;

    /// Where the first record begins in an answer about `a.org`.
    const RECORD: u8 = 12 + 7 + 4;

    /// The query with a record whose owner is `owner`.
    fn owned(query: &[u8], owner: &[u8]) -> Vec<u8> {
        let mut bytes = reply(query, OK, None);
        bytes[7] = 1;
        bytes.extend(owner);
        bytes.extend([0, query[query.len() - 3], 0, 1, 0, 0, 0, 60, 0, 4, 6, 6, 6, 6]);
        bytes
    }

    fn resolver(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Resolver {
        with(&[serve(answers)], &[])
    }

    /// What comes of a server that answers so, whatever it is asked.
    fn refused(answers: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> String {
        let error = resolver(move |query| vec![answers(query)]).resolve("a.org").unwrap_err();
        assert_eq!(error.kind, Kind::NoAnswer);
        error.text
    }

    const MALFORMED: &str = "a.org: 127.0.0.1: malformed answer";

    /// Input: dns-answers
    #[test]
    fn pointer_loops() {
        assert_eq!(refused(|query| owned(query, &[0xc0, RECORD])), MALFORMED);
        assert_eq!(refused(|query| owned(query, &[1, b'a', 0xc0, RECORD])), MALFORMED);
        assert_eq!(refused(|query| owned(query, &[0xc0, RECORD + 2, 0xc0, RECORD])), MALFORMED);
    }

    /// Input: dns-answers
    #[test]
    fn forward_pointers() {
        assert_eq!(refused(|query| owned(query, &[0xc0, RECORD + 8])), MALFORMED);
        assert_eq!(refused(|query| owned(query, &[0xff, 0xff])), MALFORMED);
    }

    /// Input: dns-answers
    #[test]
    fn labels_of_64_bytes() {
        let label = |length: u8| [vec![length], vec![b'a'; usize::from(length)], vec![0]].concat();
        assert_eq!(refused(move |query| owned(query, &label(64))), MALFORMED);
        assert_eq!(refused(move |query| owned(query, &[1, b'a'].repeat(128))), MALFORMED);
        let other = resolver(move |query| vec![owned(query, &label(63))]).resolve("a.org").unwrap_err();
        assert_eq!(other.text, "a.org: no address (asked 127.0.0.1)", "a record of another name");
    }

    /// Promise: forged-dns
    /// Input: dns-answers
    #[test]
    fn answers_to_another_question() {
        let resolver = resolver(|query| {
            let forged = |at: usize| {
                let mut bytes = reply(query, OK, Some([6, 6, 6, 6]));
                bytes[at] ^= 1;
                bytes
            };
            // The number, the flag that it is an answer, the name, the type, the class; nonsense; and the answer.
            let mut not_an_answer = reply(query, OK, Some([6, 6, 6, 6]));
            not_an_answer[2] &= 0x7f;
            let kind = query.len() - 3;
            let real = reply(query, OK, Some([192, 0, 2, 1]));
            vec![forged(0), not_an_answer, forged(13), forged(kind), forged(kind + 2), b"x".to_vec(), vec![], real]
        });
        assert_eq!(resolver.resolve("a.org"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    }

    /// Promise: forged-dns
    #[test]
    fn answers_from_another_address() {
        let answers = serve(|query| {
            // 127.0.0.1 is what was asked; the client's port is not known to who only guesses it.
            vec![reply(query, OK, Some([192, 0, 2, 1]))]
        });
        let proxy = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked = proxy.local_addr().unwrap();
        thread::spawn(move || {
            let (stranger, mut buffer) = (UdpSocket::bind("127.0.0.2:0").unwrap(), [0; 512]);
            while let Ok((length, client)) = proxy.recv_from(&mut buffer) {
                let forged = reply(&buffer[..length], OK, Some([6, 6, 6, 6]));
                stranger.send_to(&forged, client).unwrap();
                let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
                upstream.send_to(&buffer[..length], answers).unwrap();
                let mut answer = [0; 512];
                let (length, _) = upstream.recv_from(&mut answer).unwrap();
                proxy.send_to(&answer[..length], client).unwrap();
            }
        });
        assert_eq!(with(&[asked], &[]).resolve("a.org"), Ok(vec![IpAddr::from([192, 0, 2, 1])]));
    }

    /// A chain of aliases that never ends, one in each answer: `aN.org` leads to `aM.org`.
    /// Promise: forged-dns
    /// Input: dns-answers
    #[test]
    fn aliases_without_end() {
        let resolver = resolver(|query| {
            let mut bytes = reply(query, OK, None);
            bytes[7] = 1;
            let next = 1 + query[13].wrapping_sub(b'a') % 25 + b'a';
            bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 7, 1, next, 3]);
            bytes.extend(b"org\0");
            vec![bytes]
        });
        let error = resolver.resolve("a.org").unwrap_err();
        assert_eq!(error.text, "a.org: too many aliases (asked 127.0.0.1)");
    }

    /// Input: dns-answers
    #[test]
    fn truncated_answers_without_the_rest() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                udp.send_to(&reply(&buffer[..length], TRUNCATED, None), from).unwrap();
            }
        });
        // Takes the query and hangs up.
        thread::spawn(move || {
            use std::io::{Read, Write};
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut query = [0; 25];
                let _ = stream.read_exact(&mut query);
                let _ = stream.write_all(&[1, 0, 7]);
            }
        });
        let error = with(&[address], &[]).resolve("a.org").unwrap_err();
        assert_eq!(error.text, "a.org: 127.0.0.1: connection closed in mid-answer");
    }
}

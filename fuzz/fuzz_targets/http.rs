//! Oracle: an answer is the same however its bytes are cut, its body is never
//! more than came, nothing behind its end is taken, and no header holds a line's end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocinit::net::pure::http::{Body, Error, Head, HeadReader, Method};

/// The head, the body's bytes, how much of the input was the answer's, and whether it is complete.
type Answer = (Option<Head>, Vec<u8>, usize, bool);

fuzz_target!(|input: &[u8]| {
    let whole = read(input, input.len().max(1));
    for size in [1, 2, 5, 13] {
        assert_eq!(read(input, size), whole, "in pieces of {size}");
    }
    let Ok((head, body, consumed, _)) = whole else { return };
    assert!(consumed <= input.len() && body.len() <= consumed);
    if let Some(head) = head {
        assert!(head.status >= 200 && head.status < 1000);
        for name in ["connection", "location", "www-authenticate"] {
            assert!(head.headers.get_all(name).all(|value| !value.contains(['\r', '\n', '\0'])));
        }
        // The answer again, by another reader of the same head, ends in the same place.
        let again = read(&input[..consumed], 3).expect("it was read");
        assert_eq!((again.1, again.2), (body, consumed));
    }
});

fn read(input: &[u8], size: usize) -> Result<Answer, Error> {
    let (mut reader, mut head, mut body) = (HeadReader::default(), None, None::<Body>);
    let (mut data, mut consumed) = (Vec::new(), 0);
    for mut piece in input.chunks(size) {
        while !piece.is_empty() {
            let count = match &mut body {
                None => {
                    let (count, found) = reader.feed(piece)?;
                    if let Some(found) = found {
                        body = Some(Body::new(found.framing(Method::Get)?));
                        head = Some(found);
                    }
                    count
                }
                Some(body) if body.is_done() => return Ok((head, data, consumed, true)),
                Some(body) => {
                    let step = body.feed(piece)?;
                    data.extend_from_slice(&piece[step.data]);
                    step.consumed
                }
            };
            assert!(count > 0, "no progress");
            consumed += count;
            piece = &piece[count..];
        }
    }
    let done = body.is_some_and(|body| body.is_done());
    Ok((head, data, consumed, done))
}

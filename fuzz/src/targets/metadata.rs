//! Metadata, against the model, and back to the same bytes.
#![forbid(unsafe_code)]

use crate::metadata_model;
use bytes::BytesMut;
use zmtp_auth::Metadata;

/// All of `data` is metadata, of at most 1, 8 or 64 properties.
pub fn run(data: &[u8]) {
    for max in [1, 8, 64] {
        let expected = metadata_model::parse(data, max);
        let metadata = match Metadata::parse(data, "fuzz", max) {
            Ok(metadata) => metadata,
            Err(error) => {
                assert_eq!(expected, None);
                assert!(!error.to_string().contains(char::is_control));
                continue;
            }
        };
        let expected = expected.expect("what the model refuses");
        let found: Vec<_> = metadata
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect();
        assert_eq!(found, expected);
        let mut written = BytesMut::new();
        metadata.encode(&mut written);
        assert_eq!(written, data);
        assert_eq!(written.len(), metadata.encoded_len());
        let mut again = Metadata::new();
        for (name, value) in &expected {
            assert_eq!(
                metadata
                    .get(&name.to_ascii_uppercase())
                    .expect("it is there"),
                value
            );
            again.push(name, value.clone()).expect("it was received");
        }
        assert_eq!(again, metadata);
        let text = format!("{metadata:?}");
        assert!(!text.contains(char::is_control), "unfit for a log: {text}");
    }
}

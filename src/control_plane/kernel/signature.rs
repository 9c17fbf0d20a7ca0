//! Signed policy files: Ed25519 over the bytes of the file.
//!
//! The signature stands in a file beside the policy, named like it with `.sig`
//! after it. Where a key is configured, a policy without a good signature is no
//! policy.

use std::fmt;
use std::path::{Path, PathBuf};

use ring::signature::{ED25519, UnparsedPublicKey};
use thiserror::Error;

/// Bytes of a public key.
const KEY_BYTES: usize = 32;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;
/// What stands before the key in the usual wrapping (`SubjectPublicKeyInfo`).
const WRAPPING: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// The longest signature file that is read: what base64 needs, and some blanks.
pub const MAX_SIGNATURE_FILE: usize = 1024;

/// Whose signature a policy must carry.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyKey([u8; KEY_BYTES]);

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "it must be an Ed25519 public key: 32 bytes in base64 or hex, or the PEM that openssl writes"
)]
pub struct BadKey;

/// Why a policy is not taken for signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadSignature {
    /// The file does not hold a signature.
    #[error("it is no Ed25519 signature: 64 bytes, as they are, in base64 or in hex")]
    NoSignature,
    /// The signature is of other bytes, or by another key.
    #[error("the signature is not by the configured key over this policy")]
    Wrong,
}

impl PolicyKey {
    /// Reads a public key in base64, hex or PEM.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        let text: String = lines.collect();
        let bytes = decode(text.trim()).ok_or(BadKey)?;
        let key = bytes.strip_prefix(&WRAPPING).unwrap_or(&bytes);
        key.try_into().map(Self).map_err(|_| BadKey)
    }

    /// Checks the signature in `file` over `content`.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, content: &[u8], file: &[u8]) -> Result<(), BadSignature> {
        let decoded = match file.len() {
            SIGNATURE_BYTES => None,
            _ => std::str::from_utf8(file)
                .ok()
                .and_then(|text| decode(text.trim())),
        };
        let signature = decoded.as_deref().unwrap_or(file);
        if signature.len() != SIGNATURE_BYTES {
            return Err(BadSignature::NoSignature);
        }
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(content, signature)
            .map_err(|_| BadSignature::Wrong)
    }
}

/// The key is public, but no line of a log needs it.
impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyKey")
    }
}

/// Where the signature of a policy file stands: `policy.yaml.sig`.
pub fn beside(policy: &Path) -> PathBuf {
    let mut name = policy.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// Bytes written in hex or in base64, with or without padding. What could be both
/// is hex: nothing here has a length for which that matters.
fn decode(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits_each = if is_hex { 4 } else { 6 };
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'0'..=b'9' if is_hex => letter - b'0',
            b'a'..=b'f' if is_hex => letter - b'a' + 10,
            b'A'..=b'F' if is_hex => letter - b'A' + 10,
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << bits_each | u32::from(value);
        held += bits_each;
        if held >= 8 {
            held -= 8;
            let [.., byte] = (bits >> held).to_be_bytes();
            bytes.push(byte);
            bits &= (1 << held) - 1;
        }
    }
    // Bits that are left over must say nothing.
    (bits == 0 && held < bits_each).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2: the key, and its signature over one byte.
    const KEY: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const MESSAGE: &[u8] = &[0x72];
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn a_signature_is_good_for_its_bytes_and_its_key_alone() {
        let key = PolicyKey::parse(KEY).expect("a key");
        assert_eq!(key.verify(MESSAGE, SIGNATURE.as_bytes()), Ok(()));
        assert_eq!(
            key.verify(b"s", SIGNATURE.as_bytes()),
            Err(BadSignature::Wrong)
        );
        let altered = SIGNATURE.replacen('9', "8", 1);
        assert_eq!(
            key.verify(MESSAGE, altered.as_bytes()),
            Err(BadSignature::Wrong)
        );
        let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let other = PolicyKey::parse(other).expect("a key");
        assert_eq!(
            other.verify(MESSAGE, SIGNATURE.as_bytes()),
            Err(BadSignature::Wrong)
        );
    }

    #[test]
    fn keys_and_signatures_are_read_in_every_form_they_are_written_in() {
        let key = PolicyKey::parse(KEY).expect("a key");
        for form in [
            "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
            "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw",
            "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
            "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n-----END PUBLIC KEY-----\n",
        ] {
            assert_eq!(PolicyKey::parse(form), Ok(key.clone()), "{form}");
        }
        for no_key in ["", "x", "3d40", "PUAX", "not a key", &format!("{KEY}00")] {
            assert_eq!(PolicyKey::parse(no_key), Err(BadKey), "{no_key}");
        }
        let raw = decode(SIGNATURE).expect("hex");
        assert_eq!(key.verify(MESSAGE, &raw), Ok(()));
        let base64 = "kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA==\n";
        assert_eq!(key.verify(MESSAGE, base64.as_bytes()), Ok(()));
        for nothing in [&b""[..], b"nonsense", &raw[1..], &[0xff; 65]] {
            assert_eq!(key.verify(MESSAGE, nothing), Err(BadSignature::NoSignature));
        }
    }
}

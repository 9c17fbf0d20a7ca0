//! Certificates and private keys of the line to a kernel, for both of its ends.
//!
//! What TLS would refuse, or leave out without a word, is found here before anything
//! listens or asks, file by file.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use thiserror::Error;
use tonic::transport::{Certificate, Identity};

use crate::control_plane::private_file::{self, PrivateFileError};

/// Bytes of a file with a private key that are read.
const MAX_KEY: u64 = 1 << 20;

/// Why the file of a certificate or a key cannot be used.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has no certificate.
    #[error("`{}` holds no PEM certificates", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// One of its certificates is none.
    #[error("certificate {number} in `{}` cannot be used: {says}", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        says: &'static str,
    },
    /// The file of the key is not to be used.
    #[error(transparent)]
    PrivateFile(#[from] PrivateFileError),
    /// It has no key, or one of a kind that TLS does not know.
    #[error("`{}` holds no private key in PEM that TLS can use", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is another one's.
    #[error("`{}` is not the key of the certificate in `{}`", key.display(), cert.display())]
    OtherKey {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
}

impl TlsFileError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PrivateFile(error) => error.hint(),
            Self::Unreadable { .. }
            | Self::NoCertificate { .. }
            | Self::BadCertificate { .. }
            | Self::NoKey { .. }
            | Self::OtherKey { .. } => None,
        }
    }
}

/// The certificates of authorities, all of which can vouch for somebody.
pub(super) fn authorities(path: &Path) -> Result<Certificate, TlsFileError> {
    let (pem, certificates) = certificates(path)?;
    let mut store = RootCertStore::empty();
    for (at, certificate) in certificates.into_iter().enumerate() {
        store.add(certificate).map_err(|_| no_x509(path, at))?;
    }
    Ok(Certificate::from_pem(pem))
}

/// A certificate, with those between it and its authority, and its key.
pub(super) fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsFileError> {
    let (pem, certificates) = certificates(cert)?;
    for (at, certificate) in certificates.iter().enumerate() {
        ParsedCertificate::try_from(certificate).map_err(|_| no_x509(cert, at))?;
    }
    let key_pem = private_file::read("a private key", key, MAX_KEY)?;
    let no_key = || TlsFileError::NoKey {
        path: key.to_owned(),
    };
    let parsed = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| no_key())?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(certificates, parsed, &provider) {
        Ok(_) => Ok(Identity::from_pem(pem, key_pem)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(TlsFileError::OtherKey {
                cert: cert.to_owned(),
                key: key.to_owned(),
            })
        }
        // The certificates were read before, so it is the key.
        Err(_) => Err(no_key()),
    }
}

/// The file as it is, and the certificates in it: at least one.
fn certificates(path: &Path) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), TlsFileError> {
    let pem = std::fs::read(path).map_err(|source| TlsFileError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut certificates = Vec::new();
    for (at, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let says = "its PEM is broken";
        certificates.push(certificate.map_err(|_| bad(path, at, says))?);
    }
    if certificates.is_empty() {
        return Err(TlsFileError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok((pem, certificates))
}

fn no_x509(path: &Path, at: usize) -> TlsFileError {
    bad(path, at, "it is no X.509 certificate that TLS can use")
}

fn bad(path: &Path, at: usize, says: &'static str) -> TlsFileError {
    TlsFileError::BadCertificate {
        path: path.to_owned(),
        number: at + 1,
        says,
    }
}

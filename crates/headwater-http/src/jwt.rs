//! Signed assertions (JSON Web Tokens, RFC 7519), with which a client proves that it holds a key.
//!
//! Signing is done by the library that TLS uses anyway.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{hmac, signature::KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headwater_connect::{ConnectorError, Secret};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};

/// The shortest key of HS256 that is taken, as RFC 7518 section 3.2 asks for.
const LEAST_HMAC_BYTES: usize = 32;

/// Signs assertions.
pub struct SigningKey(Kind);

enum Kind {
    Rs256(Box<RsaKeyPair>),
    Es256(Box<EcdsaKeyPair>),
    Hs256(Box<hmac::Key>),
}

/// Why a key cannot sign. `Display` continues "option `private_key` …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// No private key in PEM form.
    #[error("holds no private key in PEM form, which begins with `-----BEGIN … PRIVATE KEY-----`")]
    NoPem,
    /// A key with a passphrase.
    #[error(
        "holds a private key with a passphrase; take the passphrase off (`openssl pkey -in key.pem -out plain.pem`)"
    )]
    Encrypted,
    /// A key of another kind.
    #[error("holds a private key that is no {0} key")]
    Unfit(&'static str),
    /// A secret that can be guessed.
    #[error("is a shared secret of less than 32 bytes, which HS256 does not allow")]
    TooShort,
}

impl SigningKeyError {
    /// The error of an option that holds the key.
    pub fn of_option(self, name: &str) -> ConnectorError {
        ConnectorError::invalid_option(name, self.to_string())
    }
}

impl SigningKey {
    /// RS256 with an RSA key in PEM form (PKCS #8, or PKCS #1 as GitHub gives it out).
    ///
    /// # Errors
    /// The text holds no such key. No part of it is shown.
    pub fn rs256(pem: &Secret) -> Result<Self, SigningKeyError> {
        let key = match private_key(pem)? {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(SigningKeyError::Unfit("RSA")),
        };
        key.map(|key| Self(Kind::Rs256(Box::new(key)))).map_err(|_| SigningKeyError::Unfit("RSA"))
    }

    /// ES256 with a P-256 key in PEM form (PKCS #8 or SEC 1).
    ///
    /// # Errors
    /// As [`SigningKey::rs256`].
    pub fn es256(pem: &Secret) -> Result<Self, SigningKeyError> {
        let der = private_key(pem)?;
        let unfit = SigningKeyError::Unfit("P-256 (prime256v1)");
        if matches!(der, PrivateKeyDer::Pkcs1(_)) {
            return Err(unfit);
        }
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der());
        key.map(|key| Self(Kind::Es256(Box::new(key)))).map_err(|_| unfit)
    }

    /// HS256 with a secret that both sides know.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn hs256(secret: &Secret) -> Result<Self, SigningKeyError> {
        let secret = secret.expose().as_bytes();
        if secret.len() < LEAST_HMAC_BYTES {
            return Err(SigningKeyError::TooShort);
        }
        Ok(Self(Kind::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))))
    }

    fn name(&self) -> &'static str {
        match &self.0 {
            Kind::Rs256(_) => "RS256",
            Kind::Es256(_) => "ES256",
            Kind::Hs256(_) => "HS256",
        }
    }

    /// Signs `claims`. `header` is added to the token's header, such as `kid`.
    ///
    /// # Errors
    /// [`ConnectorError::Bug`] where the key cannot sign after all.
    pub fn sign(
        &self,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<Secret, ConnectorError> {
        let mut all = Map::from_iter([("alg".into(), self.name().into()), ("typ".into(), "JWT".into())]);
        all.extend(header.iter().map(|(name, value)| (name.clone(), value.clone())));
        let encode = |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let signed = format!("{}.{}", encode(all), encode(claims.clone()));
        let signature = self.signature(signed.as_bytes());
        let signature =
            signature.ok_or_else(|| ConnectorError::bug("an assertion cannot be signed with this key"))?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Kind::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
            Kind::Es256(key) => {
                key.sign(&SystemRandom::new(), message).ok().map(|signature| signature.as_ref().to_vec())
            }
            Kind::Hs256(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// What tells this key from others: what everybody may know of it, or a signature where all of it is secret.
    pub(crate) fn identity(&self) -> String {
        match &self.0 {
            Kind::Rs256(key) => URL_SAFE_NO_PAD.encode(key.public_key()),
            Kind::Es256(key) => URL_SAFE_NO_PAD.encode(key.public_key()),
            Kind::Hs256(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, b"identity")),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.name())
    }
}

fn private_key(pem: &Secret) -> Result<PrivateKeyDer<'static>, SigningKeyError> {
    // A value that came by way of an environment variable or JSON often has its line breaks escaped.
    let text = pem.expose().replace("\\n", "\n");
    if text.contains("ENCRYPTED") {
        return Err(SigningKeyError::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| SigningKeyError::NoPem)
}

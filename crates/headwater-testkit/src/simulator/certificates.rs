//! An authority of the simulator's own, and certificates for the names that clients ask for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// How long before and after its start a simulator's certificates hold.
const DAYS: i64 = 30;

/// Signs certificates for any name. Its key never leaves the process.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    /// One key serves all names.
    key: KeyPair,
    provider: Arc<CryptoProvider>,
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    now: DateTime<Utc>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes one.
    pub(super) fn new(now: DateTime<Utc>) -> Result<Self, rcgen::Error> {
        let mut params = params(Vec::new(), "Headwater source simulator", now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            key: KeyPair::generate()?,
            provider: Arc::new(aws_lc_rs::default_provider()),
            made: Mutex::default(),
            now,
        })
    }

    /// The certificate that clients have to trust.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// What a connection is greeted with; `otherwise` is the name of a client that does not say one.
    pub(super) fn config(
        self: &Arc<Self>,
        otherwise: &str,
    ) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
        let resolver = Resolver { authority: Arc::clone(self), otherwise: otherwise.to_owned() };
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn certified(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = made.get(name) {
            return Some(Arc::clone(found));
        }
        match self.make(name) {
            Ok(key) => {
                let key = Arc::new(key);
                made.insert(name.to_owned(), Arc::clone(&key));
                Some(key)
            }
            Err(error) => {
                tracing::warn!(name, error = %error, "no certificate can be made for this name");
                None
            }
        }
    }

    fn make(&self, name: &str) -> Result<CertifiedKey, Box<dyn std::error::Error>> {
        let mut params = params(vec![name.to_owned()], name, self.now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let chain = vec![certificate.der().clone(), self.der.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Ok(CertifiedKey::from_der(chain, key, &self.provider)?)
    }
}

fn params(names: Vec<String>, title: &str, now: DateTime<Utc>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    // The form of a name has a limit; what counts is among the alternatives.
    params.distinguished_name.push(DnType::CommonName, title.chars().take(60).collect::<String>());
    let day = |at: DateTime<Utc>| {
        date_time_ymd(at.year(), u8::try_from(at.month()).unwrap_or(1), u8::try_from(at.day()).unwrap_or(1))
    };
    params.not_before = day(now - TimeDelta::days(DAYS));
    params.not_after = day(now + TimeDelta::days(DAYS));
    Ok(params)
}

#[derive(Debug)]
struct Resolver {
    authority: Arc<Authority>,
    otherwise: String,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.authority.certified(hello.server_name().unwrap_or(&self.otherwise))
    }
}

/// A host without its port, and without the brackets of an address.
pub(super) fn host_name(authority: &str) -> String {
    let bare = authority.trim_start_matches('[');
    if let Some((address, _)) = bare.split_once(']') {
        return address.to_owned();
    }
    if authority.parse::<IpAddr>().is_ok() {
        return authority.to_owned();
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn hosts_lose_their_port() {
        for (authority, expect) in [
            ("api.example.org", "api.example.org"),
            ("api.example.org:443", "api.example.org"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(host_name(authority), expect);
        }
    }
}

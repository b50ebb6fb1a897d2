//! From an account to the client that changes its zone.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dns_update::providers::azuredns::{AzureDnsConfig, AzureEnvironment};
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::ovh::OvhEndpoint;
use dns_update::providers::route53::Route53Config;
use dns_update::{DnsUpdater, TsigAlgorithm};
use slipway_domain::ports::ZoneAccount;

/// The provider that is a program.
pub(super) const EXEC: &str = "exec";
pub(super) const NO_HOOK: &str = "no program is set for it: an operator names one in SLIPWAY_DNS_HOOK";

/// To one call.
const CALL_MAX: Option<Duration> = Some(Duration::from_secs(20));

/// What an account was given.
struct Given<'a>(&'a ZoneAccount);

impl Given<'_> {
    fn may(&self, key: &str) -> Option<String> {
        self.0.settings.get(key).map(|value| value.expose().trim().to_owned())
    }

    fn must(&self, key: &str) -> Result<String, String> {
        let missing = || format!("the provider {} needs `{key}`", self.0.provider);
        self.may(key).filter(|value| !value.is_empty()).ok_or_else(missing)
    }
}

/// The client for an account.
pub(super) fn updater(account: &ZoneAccount) -> Result<DnsUpdater, String> {
    let given = Given(account);
    let token = || given.must("token");
    let key = || given.must("api_key");
    let made = match account.provider.as_str() {
        "azure" => DnsUpdater::new_azuredns(azure(&given)?),
        "bunny" => DnsUpdater::new_bunny(key()?, CALL_MAX),
        "cloudflare" => DnsUpdater::new_cloudflare(token()?, CALL_MAX),
        "desec" => DnsUpdater::new_desec(token()?, CALL_MAX),
        "digitalocean" => DnsUpdater::new_digitalocean(token()?, CALL_MAX),
        "dnsimple" => DnsUpdater::new_dnsimple(token()?, given.must("account_id")?, CALL_MAX),
        "gandi" => DnsUpdater::new_gandiv5(token()?, CALL_MAX),
        "godaddy" => DnsUpdater::new_godaddy(key()?, given.must("api_secret")?, CALL_MAX),
        "google" => DnsUpdater::new_google_cloud_dns(google(&given)?),
        "hetzner" => DnsUpdater::new_hetzner(token()?, CALL_MAX),
        "infomaniak" => DnsUpdater::new_infomaniak(token()?, CALL_MAX),
        "ionos" => DnsUpdater::new_ionos(key()?, CALL_MAX),
        "linode" => DnsUpdater::new_linode(token()?, CALL_MAX),
        "luadns" => DnsUpdater::new_luadns(given.must("username")?, token()?, CALL_MAX),
        "namedotcom" => DnsUpdater::new_namedotcom(given.must("username")?, token()?, CALL_MAX),
        "ns1" => DnsUpdater::new_ns1(key()?, CALL_MAX),
        "ovh" => return ovh(&given),
        "porkbun" => DnsUpdater::new_porkbun(key()?, given.must("secret_api_key")?, CALL_MAX),
        "powerdns" => DnsUpdater::new_pdns(key()?, Some(given.must("endpoint")?), given.may("server"), CALL_MAX),
        "rfc2136" => return rfc2136(&given),
        "route53" => DnsUpdater::new_route53(Route53Config {
            access_key_id: given.must("access_key_id")?,
            secret_access_key: given.must("secret_access_key")?,
            session_token: given.may("session_token"),
            region: given.may("region"),
            hosted_zone_id: given.may("hosted_zone_id"),
            private_zone_only: None,
            endpoint: None,
        }),
        "scaleway" => DnsUpdater::new_scaleway(token()?, CALL_MAX),
        "vultr" => DnsUpdater::new_vultr(key()?, CALL_MAX),
        other => return Err(format!("there is no provider `{other}`")),
    };
    made.map_err(super::told)
}

fn azure(given: &Given<'_>) -> Result<AzureDnsConfig, String> {
    Ok(AzureDnsConfig {
        tenant_id: given.must("tenant_id")?,
        client_id: given.must("client_id")?,
        client_secret: given.must("client_secret")?,
        subscription_id: given.must("subscription_id")?,
        resource_group: given.must("resource_group")?,
        environment: AzureEnvironment::Public,
        request_timeout: CALL_MAX,
    })
}

fn google(given: &Given<'_>) -> Result<GoogleCloudDnsConfig, String> {
    Ok(GoogleCloudDnsConfig {
        service_account_json: given.must("service_account_json")?,
        project_id: given.must("project_id")?,
        managed_zone: given.may("managed_zone"),
        private_zone: false,
        impersonate_service_account: None,
        request_timeout: CALL_MAX,
    })
}

fn ovh(given: &Given<'_>) -> Result<DnsUpdater, String> {
    let endpoint = given.may("endpoint").unwrap_or_else(|| "ovh-eu".into());
    let endpoint: OvhEndpoint = endpoint.parse().map_err(
        |_| "`endpoint` is one of ovh-eu, ovh-us, ovh-ca, kimsufi-eu, kimsufi-ca, soyoustart-eu, soyoustart-ca",
    )?;
    DnsUpdater::new_ovh(
        given.must("application_key")?,
        given.must("application_secret")?,
        given.must("consumer_key")?,
        endpoint,
        CALL_MAX,
    )
    .map_err(super::told)
}

/// RFC 2136 over TCP, signed by TSIG (RFC 8945).
fn rfc2136(given: &Given<'_>) -> Result<DnsUpdater, String> {
    let server = given.must("server")?;
    let with_port = server.parse::<SocketAddr>().ok();
    let without = || server.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    let server = with_port
        .or_else(without)
        .ok_or("`server` is an address with a port, such as 192.0.2.53:53")?;
    let key = BASE64_STANDARD
        .decode(given.must("key")?)
        .map_err(|_| "`key` is the TSIG key's secret in base64")?;
    let algorithm = given.may("algorithm").unwrap_or_else(|| "hmac-sha256".into());
    let algorithm = match algorithm.as_str() {
        "hmac-sha224" => TsigAlgorithm::HmacSha224,
        "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        _ => return Err("`algorithm` is one of hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512".into()),
    };
    DnsUpdater::new_rfc2136_tsig(format!("tcp://{server}"), given.must("key_name")?, key, algorithm)
        .map_err(super::told)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use slipway_domain::domains::{PROVIDERS, Provider};
    use slipway_domain::secret::Secret;

    fn account(provider: &Provider, keys: &[&str]) -> ZoneAccount {
        let value = |key: &str| match key {
            "server" if provider.name == "rfc2136" => "192.0.2.53".to_owned(),
            "key" => BASE64_STANDARD.encode("k"),
            "endpoint" if provider.name == "ovh" => "ovh-ca".to_owned(),
            "algorithm" => "hmac-sha512".to_owned(),
            "service_account_json" => {
                r#"{"client_email": "a@example.com", "private_key": "k", "token_uri": "https://example.com"}"#
                    .to_owned()
            }
            _ => "eu-1".to_owned(),
        };
        let settings: BTreeMap<String, Secret> =
            keys.iter().map(|k| ((*k).to_owned(), Secret::new(value(k)))).collect();
        ZoneAccount {
            zone: "example.com".parse().expect("a name"),
            provider: provider.name.into(),
            settings,
        }
    }

    #[test]
    fn every_provider_is_known_here_and_misses_each_key_that_it_needs() {
        for provider in PROVIDERS.iter().filter(|p| p.name != EXEC && p.name != "google") {
            let all = [provider.required, provider.optional].concat();
            updater(&account(provider, provider.required)).unwrap_or_else(|e| panic!("{}: {e}", provider.name));
            updater(&account(provider, &all)).unwrap_or_else(|e| panic!("{}: {e}", provider.name));
            for missing in provider.required {
                let others: Vec<&str> = provider.required.iter().copied().filter(|key| key != missing).collect();
                let said = updater(&account(provider, &others))
                    .err()
                    .expect("it cannot do without");
                assert!(said.contains(missing), "{}: {said}", provider.name);
            }
        }
    }
}

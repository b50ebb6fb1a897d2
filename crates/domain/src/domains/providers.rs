//! Who keeps zones, and what each wants to know before it changes one.

/// Who keeps a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// Its word.
    pub name: &'static str,
    /// What must be given.
    pub required: &'static [&'static str],
    /// What may be given.
    pub optional: &'static [&'static str],
    /// Whether it is reached at an address that is given: only an operator may send the platform somewhere.
    pub has_own_address: bool,
}

const fn hosted(name: &'static str, required: &'static [&'static str]) -> Provider {
    Provider {
        name,
        required,
        optional: &[],
        has_own_address: false,
    }
}

const fn hosted_with(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Provider {
    Provider {
        optional,
        ..hosted(name, required)
    }
}

const fn own(name: &'static str, required: &'static [&'static str], optional: &'static [&'static str]) -> Provider {
    Provider {
        has_own_address: true,
        ..hosted_with(name, required, optional)
    }
}

/// All of them, by name.
pub const PROVIDERS: &[Provider] = &[
    hosted(
        "azure",
        &[
            "tenant_id",
            "client_id",
            "client_secret",
            "subscription_id",
            "resource_group",
        ],
    ),
    hosted("bunny", &["api_key"]),
    hosted("cloudflare", &["token"]),
    hosted("desec", &["token"]),
    hosted("digitalocean", &["token"]),
    hosted("dnsimple", &["token", "account_id"]),
    own("exec", &[], &[]),
    hosted("gandi", &["token"]),
    hosted("godaddy", &["api_key", "api_secret"]),
    hosted_with("google", &["service_account_json", "project_id"], &["managed_zone"]),
    hosted("hetzner", &["token"]),
    hosted("infomaniak", &["token"]),
    hosted("ionos", &["api_key"]),
    hosted("linode", &["token"]),
    hosted("luadns", &["username", "token"]),
    hosted("namedotcom", &["username", "token"]),
    hosted("ns1", &["api_key"]),
    hosted_with(
        "ovh",
        &["application_key", "application_secret", "consumer_key"],
        &["endpoint"],
    ),
    hosted("porkbun", &["api_key", "secret_api_key"]),
    own("powerdns", &["api_key", "endpoint"], &["server"]),
    own("rfc2136", &["server", "key_name", "key"], &["algorithm"]),
    hosted_with(
        "route53",
        &["access_key_id", "secret_access_key"],
        &["session_token", "region", "hosted_zone_id"],
    ),
    hosted("scaleway", &["token"]),
    hosted("vultr", &["api_key"]),
];

impl Provider {
    /// By its word.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROVIDERS.iter().find(|provider| provider.name == name)
    }

    /// Whether it knows what to do with a key.
    pub fn knows(&self, key: &str) -> bool {
        self.required.iter().chain(self.optional).any(|known| *known == key)
    }
}

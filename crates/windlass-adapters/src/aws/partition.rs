//! The partitions of AWS: separate sets of regions, each with its own accounts and domain.

/// A partition, as ARNs and host names spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The second part of its ARNs.
    pub name: &'static str,
    /// The end of the host names of its services.
    pub dns_suffix: &'static str,
}

const fn partition(name: &'static str, dns_suffix: &'static str) -> Partition {
    Partition { name, dns_suffix }
}

/// The partition of most regions, and of names that are not regions of AWS.
const COMMERCIAL: Partition = partition("aws", "amazonaws.com");

/// How the names of regions begin in all other partitions. The SDK has the same table, but does not
/// export it; a test compares the two.
///
/// <https://github.com/smithy-lang/smithy-rs/blob/main/aws/sdk/sdk-partitions.json>
const BY_PREFIX: [(&str, Partition); 7] = [
    ("cn-", partition("aws-cn", "amazonaws.com.cn")),
    ("eusc-", partition("aws-eusc", "amazonaws.eu")),
    ("us-gov-", partition("aws-us-gov", "amazonaws.com")),
    ("us-iso-", partition("aws-iso", "c2s.ic.gov")),
    ("us-isob-", partition("aws-iso-b", "sc2s.sgov.gov")),
    ("eu-isoe-", partition("aws-iso-e", "cloud.adc-e.uk")),
    ("us-isof-", partition("aws-iso-f", "csp.hci.ic.gov")),
];

impl Partition {
    /// The partition to which a region belongs.
    pub fn of(region: &str) -> Self {
        let mut known = BY_PREFIX.iter();
        let found = known.find(|(prefix, _)| is_region(region) && region.starts_with(prefix));
        found.map_or(COMMERCIAL, |(_, partition)| *partition)
    }
}

/// Whether a text has the form of an AWS region: `us-east-1`, `us-gov-west-1`, `eusc-de-east-1`.
pub(super) fn is_region(text: &str) -> bool {
    let mut parts = text.rsplit('-');
    let number = parts.next().unwrap_or_default();
    let names: Vec<&str> = parts.collect();
    let is_known = BY_PREFIX.iter().any(|(prefix, _)| text.starts_with(prefix));
    2 <= names.len()
        // Regions that are added later begin with the code of a country or a continent, too.
        && (is_known || names.last().is_some_and(|first| first.len() == 2))
        && !number.is_empty()
        && number.bytes().all(|it| it.is_ascii_digit())
        && names
            .iter()
            .all(|name| !name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

    use super::*;

    const REGIONS: [(&str, &str); 10] = [
        ("us-east-1", "aws"),
        ("ap-southeast-5", "aws"),
        ("mx-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
    ];

    #[test]
    fn a_partition_comes_from_the_name_of_the_region() {
        for (region, name) in REGIONS {
            assert_eq!(Partition::of(region).name, name, "{region}");
            assert!(is_region(region), "{region}");
        }
    }

    #[tokio::test]
    async fn the_domain_of_a_partition_is_that_of_the_sdk() {
        for (region, _) in REGIONS {
            let params = Params::builder().region(region).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await;
            let suffix = Partition::of(region).dns_suffix;
            let url = format!("https://sqs.{region}.{suffix}");
            assert_eq!(endpoint.unwrap().url(), url);
        }
    }

    #[test]
    fn names_of_local_servers_are_not_regions() {
        for name in [
            "",
            "elasticmq",
            "ddblocal",
            "cn",
            "cn-",
            "000000000000",
            "a-b-1",
        ] {
            assert!(!is_region(name), "{name}");
            assert_eq!(Partition::of(name).name, "aws", "{name}");
        }
    }
}

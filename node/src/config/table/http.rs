//! Where clients and Prometheus find a node.

use toml::Value;

use super::super::doors::{
    set_door, set_gateway_cors, set_gateway_hosts, set_gateway_url, set_metrics, show_address,
};
use super::super::setting::{Setting, Takes, texts};

/// `Over HTTP`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "gateway",
        takes: Takes::One("ADDRESS"),
        help: "where to serve clients of today's ao units (aoconnect, aos) over HTTP: a port on 127.0.0.1 such as \
               4004, an address and a port, or off",
        set: |config, given| set_door(&mut config.gateway, given),
        show: |config| show_address(config.gateway),
    },
    Setting {
        key: "gateway_cors",
        takes: Takes::Many("ORIGIN"),
        help: "which web pages may use the gateway: off (none), any, or a list of origins such as \
               http://localhost:3000",
        set: set_gateway_cors,
        show: |config| config.gateway_cors.show(),
    },
    Setting {
        key: "gateway_hosts",
        takes: Takes::Many("HOST"),
        help: "host names by which the gateway may be addressed, besides localhost and numeric addresses",
        set: set_gateway_hosts,
        show: |config| texts(&config.gateway_hosts),
    },
    Setting {
        key: "gateway_url",
        takes: Takes::One("URL"),
        help: "the address at which a proxy shows the gateway to others, such as https://node.example, or off: clients \
               are told it, and pages from there count as the gateway's own",
        set: set_gateway_url,
        show: |config| {
            let url = config.gateway_url.as_ref();
            Value::String(url.map_or_else(|| "off".into(), |shown| shown.url.clone()))
        },
    },
    Setting {
        key: "metrics",
        takes: Takes::One("ADDRESS"),
        help: "where to serve metrics to Prometheus, such as 127.0.0.1:9464 (whoever reaches it can read them), or off",
        set: set_metrics,
        show: |config| show_address(config.metrics),
    },
];

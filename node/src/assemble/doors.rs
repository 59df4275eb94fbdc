//! The doors of a node for HTTP: metrics, the gateway, the weave.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::control::Answers;
use crate::error::NodeError;
use crate::gateway::{Desk, GatewayServer, WeaveDesk};
use crate::metrics::MetricsServer;
use crate::shared::{Shared, SharedRef};
use crate::submit::Submitter;
use crate::supervisor::Tasks;

/// Where the node is reached over HTTP, as far as the operator says so.
pub(super) struct Doors {
    metrics: Option<MetricsServer>,
    gateway: Option<GatewayServer>,
    weave: Option<GatewayServer>,
}

/// Where each of them listens.
pub(super) struct Addresses {
    pub(super) metrics: Option<SocketAddr>,
    pub(super) gateway: Option<SocketAddr>,
    pub(super) weave: Option<SocketAddr>,
}

impl Doors {
    pub(super) async fn open(shared: &Shared) -> Result<Self, NodeError> {
        let metrics = match shared.config.metrics {
            Some(address) => Some(MetricsServer::open(address).await?),
            None => None,
        };
        let gateway = match shared.config.gateway {
            Some(address) => Some(GatewayServer::open("gateway", address, "gateway").await?),
            None => None,
        };
        let weave = match shared.config.weave_listen {
            Some(address) => Some(GatewayServer::open("weave", address, "weave_listen").await?),
            None => None,
        };
        Ok(Self { metrics, gateway, weave })
    }

    /// Also where any free port was asked for.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            metrics: self.metrics.as_ref().and_then(MetricsServer::address),
            gateway: self.gateway.as_ref().and_then(GatewayServer::address),
            weave: self.weave.as_ref().and_then(GatewayServer::address),
        }
    }

    pub(super) fn start(
        self,
        shared: &SharedRef,
        (submitter, answers): (Submitter, Answers),
        stop: &CancellationToken,
        tasks: &mut Tasks,
    ) {
        if let Some(metrics) = self.metrics {
            tasks.start("page of metrics", metrics.run(Arc::clone(shared), stop.clone()));
        }
        if let Some(gateway) = self.gateway {
            let desk = Desk::new(Arc::clone(shared), submitter, answers);
            tasks.start("gateway", gateway.run(desk, Arc::clone(shared), stop.clone()));
        }
        if let Some(weave) = self.weave {
            let desk = WeaveDesk::new(shared);
            tasks.start("weave's door", weave.run(desk, Arc::clone(shared), stop.clone()));
        }
    }
}

//! Kills nodes as the schedule says, and starts them again.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::schedule::{Deed, Event};
use crate::error::TestnetError;
use crate::fleet::Fleet;

/// The signal of `kill -9`.
const SIGKILL: i32 = 9;

/// The kills that were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Kills {
    /// All of them.
    pub(crate) total: usize,
    /// Of each node.
    pub(crate) by_node: Vec<usize>,
    /// Of a node that was starting.
    pub(crate) starting: usize,
    /// Of a node while another one was down.
    pub(crate) together: usize,
    /// Nodes that had ended before they were killed, and how.
    pub(crate) too_late: Vec<String>,
}

/// Does what the schedule says, in its order and not before its time. `tell` hears how many were
/// killed.
///
/// # Errors
/// That the program cannot be started again.
pub(super) async fn rage(
    fleet: &mut Fleet,
    schedule: &[Event],
    tell: impl Fn(usize),
) -> Result<Kills, TestnetError> {
    let began = Instant::now();
    let mut kills = Kills { by_node: vec![0; fleet.nodes().len()], ..Kills::default() };
    let mut down = 0;
    for Event { at_ms, node, deed } in schedule {
        sleep_until(began + Duration::from_millis(*at_ms)).await;
        match deed {
            Deed::Kill => {
                let was_up = fleet.node(*node).is_up();
                let status = fleet.kill(*node).await;
                if status.and_then(|status| status.signal()) != Some(SIGKILL) {
                    let how = status.map_or_else(|| "nobody knows how".to_owned(), |it| it.to_string());
                    kills.too_late.push(format!("node {node} had ended by itself ({how})"));
                }
                kills.total += 1;
                kills.by_node[*node] += 1;
                kills.starting += usize::from(!was_up);
                kills.together += usize::from(down > 0);
                down += 1;
                tell(kills.total);
            }
            Deed::Start => {
                fleet.start_again(*node)?;
                down -= 1;
            }
        }
    }
    Ok(kills)
}

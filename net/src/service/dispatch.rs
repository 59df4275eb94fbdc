//! Commands of handles. Whoever asked may have gone; then the answer is dropped.

use prometheus_client::encoding::text;

use super::Service;
use super::command::{Command, Place};
use crate::discovery::machine::provide;
use crate::handle::ProvideError;
use crate::key::Key;
use crate::limits::{COMMANDS_AT_ONCE, PROVIDED_MAX, PROVIDED_RESERVED};

impl Service {
    /// What the node asks for, some at once: to ask the swarm between any two takes as long as most of them.
    pub(super) fn on_commands(&mut self, first: Command) {
        self.on_command(first);
        for _ in 1..COMMANDS_AT_ONCE {
            let Ok(command) = self.commands.try_recv() else { return };
            self.on_command(command);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Join { process, done } => {
                let _ = done.send(self.join(process));
            }
            Command::Leave { process, done } => {
                self.leave(Place::Process(process));
                let _ = done.send(());
            }
            Command::Publish { place, data, done } => {
                let _ = done.send(self.publish(place, data));
            }
            Command::JoinLobby { shard, done } => {
                let _ = done.send(self.join_lobby(shard));
            }
            Command::LeaveLobby { shard, done } => {
                self.leave(Place::Lobby(shard));
                let _ = done.send(());
            }
            Command::Request { peer, request, done } => self.request(peer, request, done),
            Command::Provide { key, done } => {
                let _ = done.send(self.provide(key));
            }
            Command::StopProviding { key, done } => {
                self.run_provided(provide::Input::Stop(key));
                let kademlia = &mut self.swarm.behaviour_mut().others.kademlia;
                kademlia.stop_providing(&key.record_key());
                kademlia.remove_record(&key.record_key());
                let _ = done.send(());
            }
            Command::Providers { key, done } => self.find_providers(key, done),
            Command::Peers { done } => {
                let _ = done.send(self.peer_infos());
            }
            Command::Subscribers { place, done } => {
                let _ = done.send(self.subscribers(place));
            }
            Command::Introduce { peer, addresses, done } => {
                self.introduce(peer, &addresses);
                let _ = done.send(());
            }
            Command::DialledAt { done } => {
                let addresses = self.swarm.external_addresses();
                let _ = done.send(addresses.map(|address| address.to_vec().into()).collect());
            }
            Command::Dial { address, done } => self.dial(address, done),
            Command::Fault { peer, fault, done } => {
                self.fault(peer.0, fault);
                let _ = done.send(());
            }
            Command::Reach { done } => {
                let _ = done.send(self.reach_info());
            }
            Command::Remembered { done } => {
                let _ = done.send(self.remembered());
            }
            Command::GossipMetrics { done } => {
                let mut metrics = String::new();
                if let Err(error) = text::encode(&mut metrics, &self.registry) {
                    tracing::error!(%error, "cannot encode the gossip metrics");
                }
                let _ = done.send(metrics);
            }
        }
    }

    fn provide(&mut self, key: Key) -> Result<(), ProvideError> {
        let reserved = if let Key::Process(_) = key { PROVIDED_RESERVED } else { 0 };
        if self.provided.is_full_for(&key, reserved) {
            return Err(ProvideError::TooMany { limit: PROVIDED_MAX - reserved });
        }
        self.run_provided(provide::Input::Provide(key));
        self.run_provided(provide::Input::Tick);
        Ok(())
    }
}

//! Saying things on the topics of processes.

use bytes::Bytes;
use weft_protocol::Id;
use weft_protocol::wire::ANNOUNCEMENT_BYTES_MAX;

use super::{Net, PublishError, Published, Stopped};
use crate::service::command::{Command, Place};

impl Net {
    /// Publishes an announcement on the topic of a process, joined or not.
    ///
    /// # Errors
    /// When nobody is subscribed (then nothing was sent), or it is too large.
    pub async fn publish(&self, process: Id, data: Bytes) -> Result<Published, PublishError> {
        is_small(&data)?;
        self.ask(|done| Command::Publish { place: Place::Process(process), data, done }).await?
    }

    /// Publishes announcements in their order, each as [`publish`](Self::publish) does, and says what became of each. The
    /// network is not woken for every single one.
    pub async fn publish_all(
        &self,
        announcements: impl IntoIterator<Item = (Id, Bytes)> + Send,
    ) -> Vec<Result<Published, PublishError>> {
        let mut asked = Vec::new();
        for (process, data) in announcements {
            let answer = match is_small(&data) {
                Ok(()) => {
                    let command = |done| Command::Publish { place: Place::Process(process), data, done };
                    self.hand_over(command).await.map_err(PublishError::from)
                }
                Err(error) => Err(error),
            };
            asked.push(answer);
        }
        let mut published = Vec::with_capacity(asked.len());
        for answer in asked {
            published.push(match answer {
                Ok(answer) => answer.await.unwrap_or(Err(Stopped.into())),
                Err(error) => Err(error),
            });
        }
        published
    }
}

fn is_small(data: &Bytes) -> Result<(), PublishError> {
    if data.len() > ANNOUNCEMENT_BYTES_MAX {
        return Err(PublishError::TooLarge { bytes: data.len(), limit: ANNOUNCEMENT_BYTES_MAX });
    }
    Ok(())
}

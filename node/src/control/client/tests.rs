#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use super::*;
use crate::control::api::FailureCode;

/// A node that reads one line and writes `answer`, then hangs up.
async fn node(answer: Vec<u8>) -> (tempfile::TempDir, Client, tokio::task::JoinHandle<String>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).await.unwrap();
        let _ = writer.write_all(&answer).await;
        line
    });
    let client = Client::connect(folder.path()).await.unwrap();
    (folder, client, served)
}

async fn ask(answer: &[u8]) -> Result<u64, ClientError> {
    let (_folder, mut client, _served) = node(answer.to_vec()).await;
    client.call(&Request::Status, ANSWER_WAIT).await
}

#[tokio::test]
async fn events_are_passed_over_and_the_answer_is_typed() {
    let (_folder, mut client, served) = node(b"{\"event\":1}\n{\"done\":7}\n".to_vec()).await;
    assert_eq!(client.call::<u64>(&Request::Status, ANSWER_WAIT).await.unwrap(), 7);
    assert_eq!(served.await.unwrap(), "{\"do\":\"status\"}\n");
}

#[tokio::test]
async fn a_failure_is_the_error() {
    let error = ask(b"{\"error\":{\"code\":\"timed-out\",\"text\":\"nothing in 5 s\"}}\n").await.unwrap_err();
    let ClientError::Failed(failure) = error else { panic!("{error}") };
    assert_eq!((failure.code, failure.text.as_str()), (FailureCode::TimedOut, "nothing in 5 s"));
}

#[tokio::test]
async fn a_wrong_or_missing_answer_is_named() {
    assert!(matches!(ask(b"").await, Err(ClientError::Lost)));
    assert!(matches!(ask(b"{\"done\":7").await, Err(ClientError::Lost)));
    assert!(matches!(ask(b"hello\n").await, Err(ClientError::Malformed { .. })));
    assert!(matches!(ask(b"{\"done\":\"seven\"}\n").await, Err(ClientError::Malformed { .. })));
}

#[tokio::test]
async fn an_endless_line_is_cut() {
    let error = ask(&vec![b' '; LINE_BYTES_MAX + 1]).await.unwrap_err();
    assert!(matches!(error, ClientError::AnswerTooLarge), "{error}");
}

#[tokio::test]
async fn a_silent_node_times_out() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap();
    let held = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    });
    let mut client = Client::connect(folder.path()).await.unwrap();
    let error = client.call::<u64>(&Request::Status, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), "the node did not answer within 0 s");
    drop(client);
    held.await.unwrap();
}

#[tokio::test]
async fn nobody_there_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = Client::connect(folder.path()).await.unwrap_err().to_string();
    let folder_name = folder.path().display();
    assert_eq!(error, format!("no node is running for data folder {folder_name}: start one with `weft up`"));
    drop(UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap());
    let error = Client::connect(folder.path()).await.unwrap_err();
    assert!(matches!(error, ClientError::Stale { .. }), "{error}");
    let long = folder.path().join("x".repeat(120));
    let error = Client::connect(&long).await.unwrap_err().to_string();
    assert!(error.contains("use a shorter --data-dir"), "{error}");
}

#[tokio::test]
async fn a_socket_of_another_user_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(SOCKET_NAME);
    let _listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may open anything, so there the connection succeeds.
    match Client::connect(folder.path()).await {
        Ok(_) => {}
        Err(error) => assert!(matches!(error, ClientError::Permission { .. }), "{error}"),
    }
}

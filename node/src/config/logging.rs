//! What is logged, and how.

use super::given::{Expected, Given};
use super::{Config, LogFormat};

pub(super) fn set_log(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    let expected = || "log directives such as `info` or `warn,weft_node=debug`".to_owned();
    let text = given.text().filter(|text| !text.trim().is_empty()).ok_or_else(expected)?;
    tracing_subscriber::EnvFilter::try_new(text).map_err(|error| format!("{} ({error})", expected()))?;
    config.log = text.into();
    Ok(())
}

pub(super) fn set_log_format(config: &mut Config, given: &Given<'_>) -> Result<(), Expected> {
    config.log_format = match given.text() {
        Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        _ => return Err("`text` or `json`".into()),
    };
    Ok(())
}

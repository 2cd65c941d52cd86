//! From a line to its answer: which method is which operation.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::message::{Request, RpcError, answer};
use crate::control::api::method;
use crate::control::error::{ControlError, ErrorKind};
use crate::control::service::Service;
use crate::reservation::history::Process;

/// Every method.
pub(super) const NAMES: [&str; 17] = [
    method::VOLUME_CREATE,
    method::VOLUME_LIST,
    method::VOLUME_SHOW,
    method::VOLUME_RESIZE,
    method::VOLUME_SET,
    method::VOLUME_DELETE,
    method::GROUP_LIST,
    method::GROUP_CREATE,
    method::GROUP_DELETE,
    method::SESSION_LIST,
    method::RESERVATION_SHOW,
    method::RESERVATION_HISTORY,
    method::RESERVATION_CHECK,
    method::RESERVATION_CLEAR,
    method::SERVER_STATUS,
    method::SERVER_STOP,
    method::SERVER_UPGRADE,
];

/// Does what a line asks for; `None` where it asks for no answer. `caller` is the process that asks, as
/// far as the socket tells.
pub(super) fn handle(service: &Service, caller: Option<Process>, line: &[u8]) -> Option<Value> {
    match serde_json::from_slice(line) {
        Err(error) => Some(answer(Value::Null, Err(RpcError::parse(&error)))),
        Ok(Value::Array(batch)) => handle_batch(service, caller, batch),
        Ok(message) => handle_one(service, caller, message),
    }
}

fn handle_batch(service: &Service, caller: Option<Process>, batch: Vec<Value>) -> Option<Value> {
    if !(1..=super::BATCH_REQUESTS_MAX).contains(&batch.len()) {
        let expected = format!("1 to {} requests in a batch", super::BATCH_REQUESTS_MAX);
        return Some(answer(
            Value::Null,
            Err(RpcError::invalid_request(&expected)),
        ));
    }
    let answers: Vec<_> = batch
        .into_iter()
        .filter_map(|message| handle_one(service, caller, message))
        .collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

fn handle_one(service: &Service, caller: Option<Process>, message: Value) -> Option<Value> {
    match Request::read(message) {
        Err((id, error)) => Some(answer(id, Err(error))),
        Ok(request) => {
            let result = call(service, caller, &request.method, request.params);
            request.id.map(|id| answer(id, result))
        }
    }
}

fn call(
    service: &Service,
    caller: Option<Process>,
    name: &str,
    params: Value,
) -> Result<Value, RpcError> {
    match name {
        method::VOLUME_CREATE => with(params, |create| service.create_volume(&create)),
        method::VOLUME_LIST => with(params, |Nothing {}| service.list_volumes()),
        method::VOLUME_SHOW => with(params, |select| service.show_volume(&select)),
        method::VOLUME_RESIZE => with(params, |resize| service.resize_volume(&resize)),
        method::VOLUME_SET => with(params, |set| service.set_volume(&set)),
        method::VOLUME_DELETE => with(params, |delete| service.delete_volume(&delete)),
        method::GROUP_LIST => with(params, |Nothing {}| Ok(service.list_groups())),
        method::GROUP_CREATE => with(params, |select| service.create_group(&select)),
        method::GROUP_DELETE => with(params, |select| service.delete_group(&select)),
        method::SESSION_LIST => with(params, |list| service.list_sessions(&list)),
        method::RESERVATION_SHOW => with(params, |select| service.show_reservation(&select)),
        method::RESERVATION_HISTORY => with(params, |query| service.reservation_history(&query)),
        method::RESERVATION_CHECK => with(params, |check| service.check_preempt(&check)),
        method::RESERVATION_CLEAR => {
            with(params, |clear| service.clear_reservation(&clear, caller))
        }
        method::SERVER_STATUS => with(params, |Nothing {}| service.status()),
        method::SERVER_STOP => with(params, |Nothing {}| {
            service.stop();
            Ok(())
        }),
        method::SERVER_UPGRADE => with(params, |upgrade| service.upgrade(&upgrade, caller)),
        other => Err(RpcError::unknown_method(other)),
    }
}

/// The parameters of a method that takes none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn with<P: DeserializeOwned, R: Serialize>(
    params: Value,
    operation: impl FnOnce(P) -> Result<R, ControlError>,
) -> Result<Value, RpcError> {
    let params = serde_json::from_value(params).map_err(|error| {
        ControlError::new(
            ErrorKind::Invalid,
            "params",
            format!("wrong parameters: {error}"),
        )
    })?;
    let result = operation(params)?;
    serde_json::to_value(result)
        .map_err(|error| ControlError::new(ErrorKind::Failed, "answer", error.to_string()).into())
}

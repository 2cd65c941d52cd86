//! From a line to its answer: which method is which operation.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::message::{Request, RpcError, answer};
use super::record;
use crate::control::api::method;
use crate::control::error::{ControlError, ErrorKind};
use crate::control::service::{Progress, Service};
use crate::reservation::history::Process;

/// Every method.
pub(super) const NAMES: [&str; 32] = [
    method::VOLUME_CREATE,
    method::VOLUME_LIST,
    method::VOLUME_SHOW,
    method::VOLUME_RESIZE,
    method::VOLUME_SET,
    method::VOLUME_DELETE,
    method::VOLUME_RESTORE,
    method::VOLUME_REVERT,
    method::VOLUME_EXPORT,
    method::SNAPSHOT_CREATE,
    method::SNAPSHOT_LIST,
    method::SNAPSHOT_SHOW,
    method::SNAPSHOT_DELETE,
    method::GROUP_LIST,
    method::GROUP_SHOW,
    method::GROUP_CREATE,
    method::GROUP_SET,
    method::GROUP_DELETE,
    method::SESSION_LIST,
    method::SESSION_DRAIN,
    method::SESSION_ADMIT,
    method::SESSION_DRAINS,
    method::RESERVATION_SHOW,
    method::RESERVATION_HISTORY,
    method::RESERVATION_CHECK,
    method::RESERVATION_CLEAR,
    method::SERVER_STATUS,
    method::SERVER_MEASURE,
    method::SERVER_EVENTS,
    method::SERVER_STOP,
    method::SERVER_UPGRADE,
    method::SERVER_UPGRADE,
];

/// Does what a line asks for; `None` where it asks for no answer. `caller` is the process that asks, as
/// far as the socket tells; how far long work is goes to `progress`.
pub(super) fn handle(
    service: &Service,
    caller: Option<Process>,
    progress: &dyn Progress,
    line: &[u8],
) -> Option<Value> {
    match serde_json::from_slice(line) {
        Err(error) => Some(answer(Value::Null, Err(RpcError::parse(&error)))),
        Ok(Value::Array(batch)) => handle_batch(service, caller, progress, batch),
        Ok(message) => handle_one(service, caller, progress, message),
    }
}

fn handle_batch(
    service: &Service,
    caller: Option<Process>,
    progress: &dyn Progress,
    batch: Vec<Value>,
) -> Option<Value> {
    if !(1..=super::BATCH_REQUESTS_MAX).contains(&batch.len()) {
        let expected = format!("1 to {} requests in a batch", super::BATCH_REQUESTS_MAX);
        return Some(answer(
            Value::Null,
            Err(RpcError::invalid_request(&expected)),
        ));
    }
    let answers: Vec<_> = batch
        .into_iter()
        .filter_map(|message| handle_one(service, caller, progress, message))
        .collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

fn handle_one(
    service: &Service,
    caller: Option<Process>,
    progress: &dyn Progress,
    message: Value,
) -> Option<Value> {
    match Request::read(message) {
        Err((id, error)) => Some(answer(id, Err(error))),
        Ok(request) => {
            let result =
                call_and_record(service, caller, progress, &request.method, request.params);
            request.id.map(|id| answer(id, result))
        }
    }
}

/// Does it, and writes down what came of it where it can change something.
fn call_and_record(
    service: &Service,
    caller: Option<Process>,
    progress: &dyn Progress,
    name: &str,
    params: Value,
) -> Result<Value, RpcError> {
    if !record::is_change(name) {
        return call(service, caller, progress, name, params);
    }
    let result = call(service, caller, progress, name, params.clone());
    let outcome = result.as_ref().map(drop);
    record::record(service, caller, name, &params, outcome);
    result
}

fn call(
    service: &Service,
    caller: Option<Process>,
    progress: &dyn Progress,
    name: &str,
    params: Value,
) -> Result<Value, RpcError> {
    match name {
        method::VOLUME_CREATE => with(params, |create| service.create_volume(&create, progress)),
        method::VOLUME_LIST => with(params, |list| service.list_volumes(list)),
        method::VOLUME_SHOW => with(params, |select| service.show_volume(&select)),
        method::VOLUME_RESIZE => with(params, |resize| service.resize_volume(&resize)),
        method::VOLUME_SET => with(params, |set| service.set_volume(&set)),
        method::VOLUME_DELETE => with(params, |delete| service.delete_volume(&delete)),
        method::VOLUME_RESTORE => with(params, |select| service.restore_volume(&select)),
        method::VOLUME_REVERT => with(params, |revert| service.revert_volume(&revert, progress)),
        method::VOLUME_EXPORT => with(params, |export| service.export_volume(&export, progress)),
        method::SNAPSHOT_CREATE => {
            with(params, |create| service.create_snapshots(&create, progress))
        }
        method::SNAPSHOT_LIST => with(params, |list| service.list_snapshots(&list)),
        method::SNAPSHOT_SHOW => with(params, |select| service.show_snapshot(&select)),
        method::SNAPSHOT_DELETE => with(params, |select| service.delete_snapshot(&select)),
        method::GROUP_LIST => with(params, |Nothing {}| Ok(service.list_groups())),
        method::GROUP_SHOW => with(params, |select| service.show_group(&select)),
        method::GROUP_CREATE => with(params, |select| service.create_group(&select)),
        method::GROUP_SET => with(params, |set| service.set_group(&set)),
        method::GROUP_DELETE => with(params, |select| service.delete_group(&select)),
        method::SESSION_LIST => with(params, |list| service.list_sessions(&list)),
        method::SESSION_DRAIN => with(params, |drain| service.drain_sessions(&drain)),
        method::SESSION_ADMIT => with(params, |admit| service.admit_sessions(&admit)),
        method::SESSION_DRAINS => with(params, |Nothing {}| service.list_drains()),
        method::RESERVATION_SHOW => with(params, |select| service.show_reservation(&select)),
        method::RESERVATION_HISTORY => with(params, |query| service.reservation_history(&query)),
        method::RESERVATION_CHECK => with(params, |check| service.check_preempt(&check)),
        method::RESERVATION_CLEAR => {
            with(params, |clear| service.clear_reservation(&clear, caller))
        }
        method::SERVER_STATUS => with(params, |Nothing {}| service.status()),
        method::SERVER_MEASURE => with(params, |Nothing {}| service.measure()),
        method::SERVER_EVENTS => with(params, |query| service.list_events(&query)),
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

//! The messages of JSON-RPC 2.0.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::control::error::{ControlError, ErrorDetail};

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const METHOD_NOT_FOUND: i64 = -32_601;

/// A request that is well formed.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) params: Value,
    /// `None`: a notification, which is not answered.
    pub(super) id: Option<Value>,
}

/// An error as it is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Box<ErrorDetail>>,
}

impl Request {
    /// Reads a request; an error comes with the id to answer to, as far as there is one.
    pub(super) fn read(message: Value) -> Result<Self, (Value, RpcError)> {
        let Value::Object(mut members) = message else {
            return Err((Value::Null, RpcError::invalid_request("an object")));
        };
        let id = members.remove("id");
        let answer_to = match &id {
            Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
            _ => Value::Null,
        };
        let refused = |expected| (answer_to.clone(), RpcError::invalid_request(expected));
        if !matches!(
            id,
            None | Some(Value::Null | Value::String(_) | Value::Number(_))
        ) {
            return Err(refused("an id that is a string, a number or null"));
        }
        if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(refused("\"jsonrpc\": \"2.0\""));
        }
        let Some(Value::String(method)) = members.remove("method") else {
            return Err(refused("a method's name as text"));
        };
        let params = match members.remove("params") {
            None | Some(Value::Null) => json!({}),
            Some(Value::Array(list)) if list.is_empty() => json!({}),
            Some(params @ Value::Object(_)) => params,
            Some(_) => return Err(refused("params by name, in an object")),
        };
        Ok(Self { method, params, id })
    }
}

impl RpcError {
    pub(super) fn parse(error: &serde_json::Error) -> Self {
        Self {
            code: PARSE_ERROR,
            message: format!("no JSON: {error}"),
            data: Some(detail("request", "one JSON object or array on a line")),
        }
    }

    pub(super) fn invalid_request(expected: &str) -> Self {
        Self {
            code: INVALID_REQUEST,
            message: "no JSON-RPC 2.0 request".to_owned(),
            data: Some(detail("request", expected)),
        }
    }

    pub(super) fn unknown_method(method: &str) -> Self {
        let shown: String = method.chars().take(80).collect();
        Self {
            code: METHOD_NOT_FOUND,
            message: format!("there is no method {shown:?}"),
            data: Some(detail("method", &super::methods::NAMES.join(", "))),
        }
    }
}

impl From<ControlError> for RpcError {
    fn from(error: ControlError) -> Self {
        Self {
            code: error.kind.code(),
            message: error.message,
            data: Some(Box::new(error.detail)),
        }
    }
}

fn detail(what: &str, expected: &str) -> Box<ErrorDetail> {
    Box::new(ErrorDetail {
        what: what.to_owned(),
        expected: Some(expected.to_owned()),
        hint: None,
    })
}

/// What is told without having been asked for.
pub(super) fn notification(method: &str, params: &impl Serialize) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The answer to a request.
pub(super) fn answer(id: Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    }
}

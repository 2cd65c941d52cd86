//! Layer 7: the control plane.
//!
//! It reads the configuration, keeps what must survive a restart in the catalogue, answers on the
//! control socket, and starts and stops the data path. It reaches the data path through
//! [`plane::DataPlane`] alone and runs on plain threads off the reactors.
//!
//! | room | what it is |
//! |---|---|
//! | [`config`] | the configuration file: every key, checked, with precise errors |
//! | [`access`] | who may log in to the volumes of a group |
//! | [`catalogue`] | the durable store of groups, volumes and reservation records |
//! | [`image`] | disk images, read and written by qemu-img |
//! | [`plane`] | the seam to the data path |
//! | [`service`] | the operations: create, resize, delete, list, show |
//! | [`api`], [`rpc`] | the operations as JSON-RPC 2.0 on a Unix socket |
//! | [`metrics`] | what is counted, for Prometheus; whether the server is well |
//! | [`events`], [`audit`] | what happened, and who changed what |
//! | `acceptor` | the threads of both sockets |
//! | [`server`] | start, announce, drain, stop |
//! | [`succession`] | a new process takes this one's place |

mod acceptor;
pub mod access;
pub mod api;
pub mod audit;
pub mod catalogue;
pub mod config;
pub mod data_path;
pub mod error;
pub mod events;
pub mod image;
pub mod metrics;
pub mod plane;
pub mod rpc;
pub mod server;
pub mod service;
pub mod succession;

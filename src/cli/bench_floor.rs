//! `holdfast bench floor`: what this machine could do at best.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::bench_show::{LATENCY_COLUMNS, human_count, latency_cells};
use super::bench_sockets::SocketArguments;
use super::bench_values::CoreChoice;
use super::table::{Column, render};
use super::values::Delay;
use super::{Failure, print};
use crate::load::floor::disk::{self, DiskFloor};
use crate::load::floor::{self, EchoCores, EchoShape, EchoSides, FloorPlan, FloorRow, Payload};
use crate::load::report::explain;
use crate::load::report::json::Latency;
use crate::load::{Cores, Direction};

const EXAMPLES: &str = "\
Examples:
  holdfast bench floor
  holdfast bench floor --server-cores 2 --client-cores 3
  holdfast bench floor --file /srv/test --file-depth 1 --file-depth 128

The raw echo is a server with no protocol work at all: 48 bytes in and 48 and the payload out, or
the other way round. The client is the load generator's own loop, so the figures of `holdfast bench`
divided by these tell what the target costs. Each row is the median rate of some bursts, and the
latencies of all of them. A `null` payload is one static piece, a `ram` payload is sent from, or
copied into, 256 MiB.

With --file, random reads of 4 KiB past the page cache by io_uring, polled.";

/// Depths that `--file` is read at unless given.
const FILE_DEPTHS: [u32; 2] = [1, 32];

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct FloorArguments {
    /// How long each burst is
    #[arg(long, value_name = "TIME", default_value = "300ms")]
    burst: Delay,
    /// Bursts of each row
    #[arg(long, default_value_t = 5)]
    bursts: usize,
    /// Core of the echo server, or `any` [default: the first one]
    #[arg(long, value_name = "LIST")]
    server_cores: Option<CoreChoice>,
    /// Core of the client, or `any` [default: the last one]
    #[arg(long, value_name = "LIST")]
    client_cores: Option<CoreChoice>,
    /// Give the core up when nothing came, on machines with too few of them
    #[arg(long = "yield")]
    yielding: bool,
    #[command(flatten)]
    sockets: SocketArguments,
    /// Also read this file or block device; it must exist
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Reads in flight on the file, repeated for several [default: 1 and 32]
    #[arg(long, value_name = "N", requires = "file", value_parser = clap::value_parser!(u32).range(1..=1024))]
    file_depth: Vec<u32>,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `{ format: 1, echo: [ROW], disk: [{ depth, iops, latency_ns }] }`, where ROW is
/// `{ io: "R4K"…, payload: "null" | "ram", bytes, connections, depth, iops, latency_ns }` and
/// `latency_ns` is as in the report of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Document {
    /// Counts up if a key ever changes its meaning.
    format: u32,
    /// The raw echo, by shape.
    echo: Vec<EchoView>,
    /// The polled disk, by depth; empty without `--file`.
    disk: Vec<DiskView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EchoView {
    /// `R4K`, `W4K` and so on.
    io: String,
    /// `null`: none is read or kept; `ram`: it is copied from or to memory.
    payload: &'static str,
    /// Bytes of an I/O.
    bytes: u32,
    /// Connections.
    connections: usize,
    /// I/Os that each connection keeps outstanding.
    depth: u32,
    /// I/Os a second.
    iops: f64,
    /// Latencies in nanoseconds.
    latency_ns: Latency,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DiskView {
    /// I/Os outstanding.
    depth: u32,
    /// I/Os a second.
    iops: f64,
    /// Latencies in nanoseconds.
    latency_ns: Latency,
}

pub(super) fn run(arguments: &FloorArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let apart = EchoCores::apart();
    let cores = |given: &Option<CoreChoice>, usual| given.clone().map_or(usual, |choice| choice.0);
    let client = cores(&arguments.client_cores, apart.client);
    let plan = FloorPlan {
        shapes: floor::usual_shapes(),
        burst: Duration::from_micros(arguments.burst.us),
        bursts: arguments.bursts,
        sides: EchoSides {
            cores: EchoCores {
                server: cores(&arguments.server_cores, apart.server),
                client: client.clone(),
            },
            yielding: arguments.yielding,
            sockets: arguments.sockets.options(),
        },
    };
    let echo = floor::measure(&plan, |_| {}).map_err(|error| Failure::new(explain(&error)))?;
    let disk = read_file(arguments, &client, plan.burst)?;
    let document = Document {
        format: 1,
        echo: echo.iter().map(EchoView::new).collect(),
        disk: disk.iter().map(DiskView::new).collect(),
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&document).map_err(Failure::new)? + "\n"
    } else {
        tables(&document)
    };
    print(out, &text);
    Ok(())
}

fn read_file(
    arguments: &FloorArguments,
    cores: &Cores,
    burst: Duration,
) -> Result<Vec<DiskFloor>, Failure> {
    let Some(path) = &arguments.file else {
        return Ok(Vec::new());
    };
    let depths = match arguments.file_depth.as_slice() {
        [] => &FILE_DEPTHS[..],
        given => given,
    };
    depths
        .iter()
        .map(|depth| disk::measure(path, *depth, burst, cores))
        .collect::<Result<_, _>>()
        .map_err(Failure::new)
}

impl EchoView {
    fn new(row: &FloorRow) -> Self {
        let EchoShape {
            direction,
            bytes,
            connections,
            depth,
            payload,
        } = row.shape;
        let letter = match direction {
            Direction::Read => 'R',
            Direction::Write => 'W',
        };
        Self {
            io: format!("{letter}{}K", bytes / 1024),
            payload: match payload {
                Payload::Null => "null",
                Payload::Ram => "ram",
            },
            bytes,
            connections,
            depth,
            iops: row.iops,
            latency_ns: Latency::new(&row.latency),
        }
    }
}

impl DiskView {
    fn new(floor: &DiskFloor) -> Self {
        Self {
            depth: floor.depth,
            iops: floor.iops,
            latency_ns: Latency::new(&floor.latency),
        }
    }
}

fn tables(document: &Document) -> String {
    let mut columns = vec![
        Column::Text("ECHO"),
        Column::Text("PAYLOAD"),
        Column::Text("SHAPE"),
        Column::Number("IOPS"),
    ];
    columns.extend(LATENCY_COLUMNS);
    let rows = document.echo.iter().map(|row| {
        let shape = format!("{}×{}", row.connections, row.depth);
        let mut cells = vec![
            row.io.clone(),
            row.payload.to_owned(),
            shape,
            human_count(row.iops),
        ];
        cells.extend(latency_cells(&row.latency_ns));
        cells
    });
    let mut text = render(&columns, rows);
    if !document.disk.is_empty() {
        let mut columns = vec![
            Column::Text("DISK"),
            Column::Number("DEPTH"),
            Column::Number("IOPS"),
        ];
        columns.extend(LATENCY_COLUMNS);
        let rows = document.disk.iter().map(|row| {
            let mut cells = vec![
                "R4K".to_owned(),
                row.depth.to_string(),
                human_count(row.iops),
            ];
            cells.extend(latency_cells(&row.latency_ns));
            cells
        });
        text.push('\n');
        text.push_str(&render(&columns, rows));
    }
    text
}

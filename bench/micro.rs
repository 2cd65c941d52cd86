//! What the steps of an I/O cost by themselves, in nanoseconds: `cargo bench --bench micro`, with a
//! part of a name to choose.
//!
//! Absolute figures drift with the machine: `bench/icount` is what holds the whole path, and
//! `bench/run` its ratio to the limit.

mod cores;
mod crowd;

use std::hint::{black_box, spin_loop};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use holdfast::base::buffer::Pool;
use holdfast::base::clock::Instant;
use holdfast::base::crc32c::crc32c;
use holdfast::base::doorbell::Doorbell;
use holdfast::base::gather::{Gather, Nobody, Payload};
use holdfast::base::limits::ATOMIC_WRITE_BYTES_MAX;
use holdfast::base::mailbox::mailbox;
use holdfast::base::rcu::{RcuCell, pin};
use holdfast::iscsi::TaskAttribute;
use holdfast::iscsi::pdu::{BHS_BYTES, Bhs, DataIn, NO_TAG, Opcode, ScsiCommand};
use holdfast::iscsi::text;
use holdfast::reservation::{Access, NexusIndex, Rights, Snapshot};
use holdfast::scsi::mode::{ModePages, Modes};
use holdfast::scsi::ports::{AccessState, PortGroup, Ports, TargetPort};
use holdfast::scsi::unit::{Geometry, Identity, Medium, Properties};
use holdfast::scsi::{LogicalUnit, LunKind, Plan, View, plan};

const KIB: usize = 1024;
/// Replies that leave in one send.
const REPLIES: usize = 32;

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let command = command(READ_10);
    group.bench_function("SCSI Command header", |b| {
        b.iter(|| {
            let bhs = Bhs::from_bytes(*black_box(&command));
            assert_eq!(bhs.opcode(), Opcode::ScsiCommand);
            ScsiCommand::parse(&bhs)
        });
    });
    group.bench_function("Data-In header, emitted", |b| {
        b.iter(|| black_box(&data_in()).emit())
    });
    let keys = login_keys();
    group.bench_function("text of a login", |b| {
        b.iter(|| {
            text::parse(black_box(keys.as_bytes()))
                .expect("sound text")
                .len()
        });
    });
    group.finish();
}

fn plans(c: &mut Criterion) {
    let unit = unit();
    let view = view(&unit);
    let mut group = c.benchmark_group("plan");
    for (name, cdb) in [
        ("READ(10)", READ_10),
        ("WRITE(10)", WRITE_10),
        ("READ(16)", READ_16),
    ] {
        assert!(matches!(
            plan(&cdb, &view),
            Plan::Read { .. } | Plan::Write { .. }
        ));
        group.bench_function(name, |b| b.iter(|| plan(black_box(&cdb), black_box(&view))));
    }
    group.finish();
}

fn permission(c: &mut Criterion) {
    let mut group = c.benchmark_group("permission check");
    let none = RcuCell::new(Snapshot::open());
    let many = RcuCell::new(crowd::snapshot());
    for (name, cell) in [("no registrants", &none), ("1024 registrants", &many)] {
        let guard = pin();
        let mut index = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                index = (index + 1) % u32::from(crowd::REGISTRANTS);
                let rights = black_box(cell).load(&guard).rights(NexusIndex(index));
                assert!(rights.permits(Access::Write));
            });
        });
    }
    group.bench_function("pinning the epoch, once a tick", |b| {
        b.iter(|| drop(black_box(pin())))
    });
    group.finish();
}

fn digests(c: &mut Criterion) {
    let mut group = c.benchmark_group("CRC32C");
    for bytes in [BHS_BYTES, 4 * KIB, 128 * KIB] {
        let data = vec![0x5a; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} bytes"), |b| {
            b.iter(|| crc32c(black_box(&data)))
        });
    }
    group.finish();
}

fn buffers(c: &mut Criterion) {
    let mut group = c.benchmark_group("buffers");
    let mut pool = Pool::new(16 << 20, 0).expect("memory");
    for bytes in [4 * KIB, 128 * KIB] {
        group.bench_function(format!("{} KiB of a pool, and back", bytes / KIB), |b| {
            b.iter(|| {
                let buffer = pool.allocate(black_box(bytes)).expect("the pool is large");
                pool.recycle(buffer);
            });
        });
    }
    let header = [0; BHS_BYTES];
    let mut gather = Gather::default();
    group.throughput(Throughput::Elements(REPLIES as u64));
    group.bench_function("a gather list of 32 replies of 4 KiB", |b| {
        b.iter_batched(
            || {
                (0..REPLIES)
                    .map(|_| pool.allocate(4 * KIB).expect("memory"))
                    .collect::<Vec<_>>()
            },
            |payloads| {
                for payload in payloads {
                    gather.push_bytes(black_box(&header));
                    let bytes = payload.len();
                    let index = gather.hold(Payload::Buffer(payload));
                    gather.push_range(index, 0, bytes);
                }
                let mut slices = Vec::with_capacity(2 * REPLIES);
                gather.slices(0, &Nobody, &mut slices);
                assert_eq!(black_box(&slices).len(), 2 * REPLIES);
                gather.clear(drop);
            },
            BatchSize::SmallInput,
        );
        pool.reclaim();
    });
    group.finish();
}

fn doorbell(c: &mut Criterion) {
    let mut group = c.benchmark_group("doorbell");
    let bell = Doorbell::new().expect("an eventfd");
    group.bench_function("rung while the reactor is awake", |b| {
        b.iter(|| black_box(&bell).ring())
    });
    group.bench_function("rung while it sleeps, the ringer's part", |b| {
        b.iter(|| {
            bell.arm();
            black_box(&bell).ring();
        });
    });
    group.finish();
}

/// A message to another core and back, both polling; half of it is a hop.
fn mailbox_hop(c: &mut Criterion) {
    let Some([near, far]) = cores::two() else {
        eprintln!("left out: a hop needs two cores");
        return;
    };
    /// As large as what reactors send each other for an I/O.
    type Message = [u64; 16];
    const STOP: u64 = u64::MAX;
    let (mut there, mut at_far) = mailbox::<Message>(256);
    let (mut back, mut here) = mailbox::<Message>(256);
    let echo = cores::spawn_on(far, move || {
        loop {
            let Some(message) = at_far.recv() else {
                spin_loop();
                continue;
            };
            if message[0] == STOP {
                return;
            }
            back.try_send(message).expect("one message is under way");
        }
    });
    cores::pin(near);
    let mut group = c.benchmark_group("mailbox");
    group.bench_function("hop between two cores", |b| {
        b.iter_custom(|hops| {
            let rounds = hops.div_ceil(2);
            let start = Instant::now();
            for round in 0..rounds {
                there
                    .try_send([round; 16])
                    .expect("one message is under way");
                while here.recv().is_none() {
                    spin_loop();
                }
            }
            per_hop(Instant::now().since(start), rounds, hops)
        });
    });
    group.finish();
    there.try_send([STOP; 16]).expect("no message is under way");
    echo.join().expect("the other side ends");
}

/// The time of `hops` hops, where that many round trips took `spent`.
fn per_hop(spent: Duration, rounds: u64, hops: u64) -> Duration {
    spent.mul_f64(hops as f64 / (2 * rounds) as f64)
}

/// READ(10) and WRITE(10) of 4 KiB at block 8, READ(16) of the same.
const READ_10: [u8; 16] = [0x28, 0, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
const WRITE_10: [u8; 16] = [0x2a, 0, 0, 0, 0, 8, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
const READ_16: [u8; 16] = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0];

fn command(cdb: [u8; 16]) -> [u8; BHS_BYTES] {
    let command = ScsiCommand {
        immediate: false,
        final_pdu: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        priority: 0,
        lun: [0; 8],
        initiator_task_tag: 7,
        expected_data_transfer_length: 4096,
        cmd_sn: 1,
        exp_stat_sn: 1,
        cdb,
    };
    *command.emit().as_bytes()
}

fn data_in() -> DataIn {
    DataIn {
        final_pdu: true,
        acknowledge: false,
        overflow: false,
        underflow: false,
        has_status: true,
        status: 0,
        lun: [0; 8],
        initiator_task_tag: 7,
        target_transfer_tag: NO_TAG,
        stat_sn: 1,
        exp_cmd_sn: 2,
        max_cmd_sn: 129,
        data_sn: 0,
        buffer_offset: 0,
        residual: 0,
    }
}

fn login_keys() -> String {
    let keys = [
        "InitiatorName=iqn.2024-01.bench:node0001",
        "TargetName=iqn.2024-01.bench:volume",
        "SessionType=Normal",
        "HeaderDigest=CRC32C,None",
        "DataDigest=CRC32C,None",
        "ErrorRecoveryLevel=0",
        "InitialR2T=No",
        "ImmediateData=Yes",
        "MaxBurstLength=16776192",
        "FirstBurstLength=262144",
        "MaxOutstandingR2T=1",
        "MaxConnections=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
        "MaxRecvDataSegmentLength=262144",
    ];
    keys.map(|pair| format!("{pair}\0")).concat()
}

fn view(unit: &LogicalUnit) -> View<'_> {
    View {
        unit,
        lun: LunKind::Disk,
        rights: Rights::UNRESERVED,
        port: 1,
        attention: None,
        timestamp_ms: 0,
    }
}

/// A thin volume of 4 MiB behind one port.
fn unit() -> LogicalUnit {
    let port = TargetPort {
        identifier: 1,
        group: 1,
        portal_group_tag: 1,
    };
    let group = PortGroup {
        identifier: 1,
        state: AccessState::ActiveOptimized,
        preferred: false,
        explicit: None,
    };
    LogicalUnit {
        identity: Identity {
            vendor: *b"HOLDFAST",
            product: *b"VOLUME          ",
            revision: *b"0001",
            serial: "bench".into(),
            naa: [0x3f; 8],
            target_name: "iqn.2024-01.bench:volume".into(),
            label: "bench".into(),
        },
        geometry: Geometry {
            block_bytes: 512,
            blocks: 8192,
            physical_exponent: 3,
            lowest_aligned: 0,
        },
        properties: Properties {
            thin: true,
            reads_zeros: true,
            volatile_cache: false,
            atomic_write_bytes: ATOMIC_WRITE_BYTES_MAX,
            crypto_erase: false,
            rotational: false,
            removable: false,
            read_only: false,
            unmap_granularity_bytes: 4096,
            optimal_transfer_bytes: 0,
        },
        modes: Modes::new(ModePages::default()),
        reservation: Snapshot::open(),
        ports: Ports::new(vec![port], vec![group]),
        medium: Medium::Ready,
        removal_prevented: false,
    }
}

// The hop is last: it keeps this thread on a core.
criterion_group!(
    steps,
    parse,
    plans,
    permission,
    digests,
    buffers,
    doorbell,
    mailbox_hop
);
criterion_main!(steps);

use super::*;
use crate::load::plan::BlockSize;

const CAPACITY: Capacity = Capacity {
    blocks: 2048,
    block_bytes: 512,
};

fn workload(pattern: Pattern) -> Workload {
    Workload {
        read_percent: 70,
        pattern,
        blocks: vec![
            BlockSize {
                bytes: 4096,
                weight: 3,
            },
            BlockSize {
                bytes: 8192,
                weight: 1,
            },
        ],
        offset: 64 << 10,
        size: Some(512 << 10),
        rate: None,
        fua: false,
        verify: false,
        seed: 42,
    }
}

fn generator(workload: &Workload, session: (usize, usize)) -> Generator {
    let region = region(workload, CAPACITY, session.0, session.1).unwrap();
    Generator::new(workload, region, CAPACITY.block_bytes, session)
}

#[test]
fn every_request_is_within_the_range_and_of_whole_blocks() {
    for pattern in [
        Pattern::Sequential,
        Pattern::Strided(NonZeroU64::new(64 << 10).unwrap()),
        Pattern::Uniform,
        Pattern::Zipf(1.2),
    ] {
        let workload = workload(pattern);
        let mut generator = generator(&workload, (1, 3));
        let (mut reads, mut long) = (0, 0);
        for _ in 0..20_000 {
            let request = generator.next();
            let (start, end) = (
                request.lba * 512,
                (request.lba + u64::from(request.blocks)) * 512,
            );
            assert!(
                start >= 64 << 10 && end <= 576 << 10,
                "{pattern:?}: {request:?}"
            );
            assert_eq!(request.bytes, request.blocks * 512);
            reads += u32::from(request.direction == Direction::Read);
            long += u32::from(request.bytes == 8192);
        }
        assert!(
            (13_500..14_500).contains(&reads),
            "{pattern:?}: {reads} reads, seed 42"
        );
        assert!(
            (4_600..5_400).contains(&long),
            "{pattern:?}: {long} of 8 KiB, seed 42"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_requests_and_sessions_differ() {
    let workload = workload(Pattern::Uniform);
    let first = |session| {
        let mut generator = generator(&workload, session);
        (0..100).map(|_| generator.next()).collect::<Vec<_>>()
    };
    assert_eq!(first((0, 2)), first((0, 2)));
    assert_ne!(first((0, 2)), first((1, 2)));
}

#[test]
fn sequences_cover_the_range_before_they_repeat() {
    let mut workload = workload(Pattern::Sequential);
    workload.blocks.truncate(1);
    for pattern in [
        Pattern::Sequential,
        Pattern::Strided(NonZeroU64::new(16 << 10).unwrap()),
    ] {
        workload.pattern = pattern;
        let mut generator = generator(&workload, (0, 1));
        let mut lbas: Vec<u64> = (0..128).map(|_| generator.next().lba).collect();
        assert_eq!(generator.next().lba, lbas[0]);
        lbas.sort_unstable();
        lbas.dedup();
        assert_eq!(lbas.len(), 128, "{pattern:?}: each place once");
    }
}

#[test]
fn zipf_is_hot_where_uniform_is_not() {
    let hottest = |pattern| {
        let mut workload = workload(pattern);
        workload.blocks.truncate(1);
        let mut generator = generator(&workload, (0, 1));
        let mut hits = std::collections::BTreeMap::<u64, u32>::new();
        (0..10_000).for_each(|_| *hits.entry(generator.next().lba).or_default() += 1);
        hits.into_values().max().unwrap()
    };
    assert!(hottest(Pattern::Zipf(1.2)) > 10 * hottest(Pattern::Uniform));
}

#[test]
fn what_does_not_fit_is_told() {
    let misfit = |change: &dyn Fn(&mut Workload)| {
        let mut workload = workload(Pattern::Uniform);
        change(&mut workload);
        region(&workload, CAPACITY, 0, 4).unwrap_err()
    };
    assert!(matches!(
        misfit(&|w| w.blocks[0].bytes = 1000),
        Misfit::Transfer { bytes: 1000, .. }
    ));
    assert!(matches!(
        misfit(&|w| w.offset = 100),
        Misfit::Alignment { bytes: 100, .. }
    ));
    assert!(matches!(
        misfit(&|w| w.size = Some(1 << 20)),
        Misfit::Beyond { .. }
    ));
    assert!(matches!(
        misfit(&|w| w.size = Some(4096)),
        Misfit::TooSmall { .. }
    ));
    let split = |w: &mut Workload| (w.verify, w.size) = (true, Some(16 << 10));
    assert!(matches!(
        misfit(&split),
        Misfit::TooSmall { bytes: 4096, .. }
    ));
}

#[test]
fn verifying_sessions_have_parts_of_their_own() {
    let mut workload = workload(Pattern::Uniform);
    workload.verify = true;
    let parts: Vec<Region> = (0..4)
        .map(|index| region(&workload, CAPACITY, index, 4).unwrap())
        .collect();
    for pair in parts.windows(2) {
        assert_eq!(pair[0].start + pair[0].bytes, pair[1].start);
    }
}

#[test]
fn quotas_add_up() {
    let quotas = (0..3).map(|index| Quota::new(NonZeroU64::new(11), index, 3).0);
    assert_eq!(quotas.flatten().sum::<u64>(), 11);
    let mut quota = Quota(Some(1));
    quota.take();
    assert!(quota.is_used_up() && !Quota(None).is_used_up());
}

//! The memory plan: every value that lives in the arena gets an offset, so that values whose lifetimes overlap do not.

/// Offsets are multiples of this many bytes.
const ALIGNMENT: usize = regraft_onednn::ALIGNMENT;

/// A request for memory between two instructions, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) bytes: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Offsets for the requests, in their order, and the size of the arena.
///
/// Greedy by size: the largest request first, each at the lowest offset that is free during its life (Pisarchyk and Lee,
/// "Efficient Memory Management for Deep Neural Net Inference", 2020).
pub(crate) fn plan(requests: &[Request]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..requests.len())
        .filter(|i| requests[*i].bytes > 0)
        .collect();
    order.sort_by_key(|i| {
        (
            std::cmp::Reverse(requests[*i].bytes),
            requests[*i].first,
            *i,
        )
    });
    let mut offsets = vec![0; requests.len()];
    // Placed requests, sorted by offset.
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0;
    for i in order {
        let request = requests[i];
        let mut offset = 0;
        for other in placed
            .iter()
            .filter(|p| lives_overlap(requests[**p], request))
        {
            if offset + request.bytes <= offsets[*other] {
                break;
            }
            offset =
                offset.max((offsets[*other] + requests[*other].bytes).next_multiple_of(ALIGNMENT));
        }
        offsets[i] = offset;
        size = size.max(offset + request.bytes);
        let at = placed.partition_point(|p| offsets[*p] <= offset);
        placed.insert(at, i);
    }
    (offsets, size.next_multiple_of(ALIGNMENT))
}

fn lives_overlap(a: Request, b: Request) -> bool {
    a.first <= b.last && b.first <= a.last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_that_never_meet_share_memory() {
        let request = |first, last| Request {
            bytes: 1000,
            first,
            last,
        };
        let (offsets, size) = plan(&[request(0, 1), request(1, 2), request(2, 3)]);
        assert_eq!(offsets[0], offsets[2]);
        assert_eq!(size, 2048);
    }

    proptest! {
        #[test]
        fn values_that_meet_never_overlap(
            raw in prop::collection::vec((0_usize..5000, 0_usize..20, 0_usize..10), 0..60)
        ) {
            let requests: Vec<_> =
                raw.iter().map(|(bytes, first, life)| Request { bytes: *bytes, first: *first, last: first + life }).collect();
            let (offsets, size) = plan(&requests);
            for (i, a) in requests.iter().enumerate() {
                prop_assert!(offsets[i] + a.bytes <= size && offsets[i] % ALIGNMENT == 0);
                for (j, b) in requests.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(apart || !lives_overlap(*a, *b) || a.bytes == 0 || b.bytes == 0);
                }
            }
        }
    }
}

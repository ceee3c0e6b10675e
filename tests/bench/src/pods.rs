//! Twenty idle pods of the CRI, one container each, with networks of their own: the memory of one whole pod.
//!
//! On a node of its own, because the other node's containerd has no CRI plugin.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use catamaran_harness::cri::{self, Pod, Running, Shape};
use catamaran_harness::procfs::parent;
use catamaran_harness::{Image, Node};

use crate::contender::Contender;
use crate::crowd::crowd;
use crate::plan::Plan;
use crate::rows::Row;
use crate::samples::Samples;
use crate::{census, start};

const SIZE: usize = 20;
const AT_A_TIME: usize = 4;
/// The time from the last "ready" until all count as idle.
const CALM: Duration = Duration::from_secs(2);
const ROWS: [Row; 4] = [Row::PodPss, Row::PodShim, Row::PodSandbox, Row::PodContainer];

/// Measures the rows of the pods, for contenders with a handler on the node.
pub(crate) fn measure(contenders: &[Contender], plan: &Plan, samples: &mut Samples) {
    if plan.pods == 0 {
        return;
    }
    let node = Node::start_with(cri::options().network());
    for round in 0..plan.pods {
        for contender in contenders {
            let Some(shape) = contender.pod() else { continue };
            eprintln!("pods {} of {}: {}", round + 1, plan.pods, contender.name);
            let image = contender.image("sleep");
            let succeeded = samples.turn(contender.side(), &ROWS, || {
                if round == 0 {
                    // Compiles it, if that is needed.
                    ready(&node, &contender.id("pod-warm-up", 0), &shape, &image).0.remove();
                    node.await_compiles();
                }
                idle(&node, contender, &shape, &image, round)
            });
            if !succeeded {
                cri::remove_pods(&node);
            }
        }
    }
    node.finish();
}

/// Starts a pod whose container is idle.
fn ready<'n>(node: &'n Node, name: &str, shape: &Shape, image: &Image) -> (Pod<'n>, Running<'n>) {
    let (pod, container) = start::pod(node, name, shape, image);
    container.expect_line("ready");
    (pod, container)
}

fn idle(node: &Node, contender: &Contender, shape: &Shape, image: &Image, round: usize) -> Vec<(Row, f64)> {
    let pods: Vec<(Pod<'_>, Running<'_>)> =
        crowd(SIZE, AT_A_TIME, |number| ready(node, &contender.id("pod", round * SIZE + number), shape, image));
    sleep(CALM);
    let sandboxes: BTreeSet<u32> = pods.iter().map(|(pod, _)| pod.status().pid).collect();
    let containers: BTreeSet<u32> = pods.iter().map(|(_, container)| container.status().pid).collect();
    let shims: BTreeSet<u32> = sandboxes.iter().map(|sandbox| parent(*sandbox)).collect();
    let each = |processes: &BTreeSet<u32>| {
        assert!(
            processes.len() == SIZE,
            "{} has {} processes of a kind in {SIZE} pods",
            contender.name,
            processes.len()
        );
        processes.iter().map(|pid| census::memory(*pid).pss).sum::<f64>() / SIZE as f64
    };
    let (shim, sandbox, container) = (each(&shims), each(&sandboxes), each(&containers));
    for (pod, _) in pods {
        pod.remove();
    }
    ROWS.into_iter().zip([shim + sandbox + container, shim, sandbox, container]).collect()
}

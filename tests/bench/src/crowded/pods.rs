//! Hundreds of pods by the CRI, one container each, in the host's network: networks are made by plugins, and cost every handler the same.
//!
//! On a node of its own, because the other node's containerd has no CRI plugin.

use std::time::{Duration, Instant};

use catamaran_harness::Node;
use catamaran_harness::cri::{self, ContainerFilter, Pod, PodFilter, Running, Shape};
use catamaran_harness::procfs::parent;

use super::{Figures, ROWS, again, containerd, idle, starts, timed};
use crate::contender::Contender;
use crate::crowd::crowd;
use crate::plan::Plan;
use crate::rows::{Crowded, Row};
use crate::samples::Samples;
use crate::start;

const AT_A_TIME: usize = 4;

/// Measures the rows of the crowd of pods, for contenders with a handler on the node.
pub(crate) fn measure(contenders: &[Contender], plan: &Plan, samples: &mut Samples) {
    if plan.crowd_pods == 0 {
        return;
    }
    let rows: Vec<Row> = ROWS.into_iter().chain([Crowded::Stats]).map(Row::Pods).collect();
    let node = Node::start_with(cri::options());
    for contender in contenders {
        let Some(shape) = contender.pod() else { continue };
        let shape = Shape { network: false, ..shape };
        eprintln!("{} pods: {}", plan.crowd_pods, contender.name);
        let succeeded = samples.turn(contender.side(), &rows, || {
            let figures = one(&node, contender, &shape, plan.crowd_pods);
            figures.into_iter().map(|(figure, value)| (Row::Pods(figure), value)).collect()
        });
        if !succeeded {
            cri::remove_pods(&node);
        }
    }
    node.finish();
}

fn one(node: &Node, contender: &Contender, shape: &Shape, size: usize) -> Figures {
    let image = contender.image("sleep");
    // Compiles it, if that is needed.
    start::pod(node, &contender.id("crowd-warm-up", 0), shape, &image).0.remove();
    node.await_compiles();
    let mut figures = Figures::new();
    let more = |figure: Crowded, figures: &mut Figures| {
        again(figure, figures, |number| {
            let id = contender.id(&format!("crowd-{figure:?}"), number);
            let begin = Instant::now();
            let (pod, _) = start::pod(node, &id, shape, &image);
            let duration = begin.elapsed();
            pod.remove();
            duration
        });
    };
    more(Crowded::OneBefore, &mut figures);
    let before = containerd(node);

    let begin = Instant::now();
    let started: Vec<(Pod<'_>, Running<'_>, Duration)> = crowd(size, AT_A_TIME, |number| {
        let begin = Instant::now();
        let (pod, container) = start::pod(node, &contender.id("crowd", number), shape, &image);
        (pod, container, begin.elapsed())
    });
    let wall = begin.elapsed();
    starts(&started.iter().map(|(.., duration)| *duration).collect::<Vec<_>>(), wall, &mut figures);
    let pids = started.iter().flat_map(|(pod, container, _)| {
        let sandbox = pod.status().pid;
        [parent(sandbox), sandbox, container.status().pid]
    });
    idle(&pids.collect::<Vec<_>>(), size, &mut figures);
    again(Crowded::List, &mut figures, |_| timed(|| listed(node, contender, size)));
    again(Crowded::Stats, &mut figures, |_| {
        timed(|| assert_eq!(cri::pod_stats(node, &PodFilter::default()).len(), size, "pods with statistics"))
    });
    more(Crowded::OneMore, &mut figures);
    figures.push((Crowded::Containerd, containerd(node) - before));

    let begin = Instant::now();
    let pods: Vec<Pod<'_>> = started.into_iter().map(|(pod, ..)| pod).collect();
    crowd(size, AT_A_TIME, |number| {
        pods[number].stop();
        cri::remove_pod(node, pods[number].id()).unwrap_or_else(|status| panic!("RemovePodSandbox: {status}"));
    });
    figures.push((Crowded::Deletes, begin.elapsed().as_secs_f64() * 1e3 / size as f64));
    more(Crowded::OneAfter, &mut figures);
    figures.push((Crowded::ContainerdAfter, containerd(node) - before));
    figures
}

/// `ListPodSandbox` and `ListContainers`.
fn listed(node: &Node, contender: &Contender, size: usize) {
    let (pods, containers) =
        (cri::pods(node, &PodFilter::default()).len(), cri::containers(node, &ContainerFilter::default()).len());
    assert!((pods, containers) == (size, size), "{pods} pods of {} with {containers} containers", contender.name);
}

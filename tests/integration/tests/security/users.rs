//! Users and groups.

use std::fs;
use std::os::unix::fs::MetadataExt;

use catamaran_harness::Node;
use catamaran_harness::cri::{Pod, Shape};
use catamaran_harness::procfs::status;

use crate::{NONE, denied, done, has_words, kitchen, on_each_engine, options, sleeping, volume, wasm};

/// The user and group ids of a process, from the kernel.
fn ids(pid: u32) -> (String, String, String) {
    let status = status(pid);
    let one = |key: &str| {
        let numbers: Vec<&str> = status[key].split_whitespace().collect();
        assert!(
            numbers.iter().all(|number| *number == numbers[0]),
            "real, effective, saved and for files: {numbers:?}"
        );
        numbers[0].to_owned()
    };
    (one("Uid"), one("Gid"), status["Groups"].split_whitespace().collect::<Vec<_>>().join(" "))
}

fn are(uid: &str, gid: &str, groups: &str) -> (String, String, String) {
    (uid.to_owned(), gid.to_owned(), groups.to_owned())
}

#[test]
fn the_worker_and_its_files_have_the_specs_user_and_groups() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let (_, pid) = sleeping(pod.order("none", &wasm("sleep")));
        assert_eq!(ids(pid), are("0", "0", "0"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("user", &wasm("sleep")).user_alone(1000));
        assert_eq!(ids(pid), are("1000", "0", "0"), "{engine:?}");
        let order = pod.order("groups", &wasm("sleep")).user(1000, 1001).group(2000).group(3000);
        let (_, pid) = sleeping(order);
        assert_eq!(ids(pid), are("1000", "1001", "1001 2000 3000"), "{engine:?}");
        // The image's user if the pod names none, the pod's if it does.
        let image = wasm("sleep").user("1234:2345");
        let (_, pid) = sleeping(pod.order("image", &image));
        assert_eq!(ids(pid), are("1234", "2345", "2345"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("over", &image).user(1000, 1001));
        assert_eq!(ids(pid), are("1000", "1001", "1001"), "{engine:?}");

        let volume = volume(&node, &format!("files-{}", engine.name()), (0, 0), 0o777);
        let order = pod.order("write", &kitchen()).args(["write", "/work/mine", "x"]).user(1000, 1001);
        done(order.mount(&volume, "/work", false, NONE));
        let file = fs::metadata(volume.join("mine")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1000, 1001), "{engine:?}");
    });
    // A group without a user would be the image's user's: containerd refuses it.
    let pod = Pod::run(&node, "group", Shape::wasm());
    let refused = pod.order("group", &wasm("sleep")).group_alone(1001).try_ready().err().expect("it was created");
    has_words(&refused, &["user"]);
    pod.remove();
    node.finish();
}

#[test]
fn a_username_and_its_groups_are_resolved_by_the_image() {
    let node = Node::start_with(options());
    let image = wasm("sleep")
        .file("/etc/passwd", "root:x:0:0::/:/none\nguest:x:1234:2345::/:/none\n")
        .file("/etc/group", "guest:x:2345:\ncrew:x:3456:guest\n");
    on_each_engine(&node, |pod, engine| {
        let (_, pid) = sleeping(pod.order("merged", &image).username("guest").group(4567));
        assert_eq!(ids(pid), are("1234", "2345", "2345 3456 4567"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("strict", &image).username("guest").group(4567).strict_groups());
        assert_eq!(ids(pid), are("1234", "2345", "2345 4567"), "{engine:?}");
        let (_, pid) = sleeping(pod.order("number", &image).user(1234, 2345).strict_groups());
        assert_eq!(ids(pid), are("1234", "2345", "2345"), "{engine:?}");
    });
    let pod = Pod::run(&node, "nobody", Shape::wasm());
    let refused = pod.order("nobody", &image).username("nobody").try_ready().err().expect("it was created");
    has_words(&refused, &["no users found"]);
    pod.remove();
    node.finish();
}

/// The kubelet gives the volume to the group, and the group to the containers: the rest is the kernel's doing.
#[test]
fn the_group_of_a_volume_lets_its_members_write() {
    let node = Node::start_with(options());
    on_each_engine(&node, |pod, engine| {
        let volume = volume(&node, &format!("shared-{}", engine.name()), (0, 2000), 0o2770);
        let order = |name: &str, file: &str| {
            let order = pod.order(name, &kitchen()).args(["write", file, "x"]).user(1000, 1001);
            order.mount(&volume, "/work", false, NONE)
        };
        done(order("member", "/work/members").group(2000));
        let file = fs::metadata(volume.join("members")).unwrap();
        assert_eq!((file.uid(), file.gid()), (1000, 2000), "{engine:?}");
        denied(order("stranger", "/work/strangers"), "Permission denied");
        // And root's special right does not let the worker's root write where it is not the owner.
        let other = crate::volume(&node, &format!("other-{}", engine.name()), (4000, 4000), 0o700);
        let root = pod.order("root", &kitchen()).args(["write", "/other/roots", "x"]);
        denied(root.mount(&other, "/other", false, NONE), "Permission denied");
    });
    node.finish();
}

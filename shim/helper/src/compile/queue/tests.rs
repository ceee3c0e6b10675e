use std::sync::{Arc, Mutex};

use super::super::asker::Asker;
use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("catamaran-queue-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn queue(&self, tenant: &str) -> Queue {
        Queue::new(self.0.clone(), 1, tenant, "module")
    }

    fn waiting(&self) -> usize {
        self.queue("").tickets().unwrap().len()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes a slot for an order whose asker stays.
fn slot(queue: &Queue, limit: Duration) -> Option<Lock> {
    let (asker, _shim) = Asker::pair();
    match queue.slot(Until { limit, asker: &asker }).unwrap() {
        Turn::Came(held) => Some(held),
        Turn::TooLate => None,
        Turn::Unwanted => panic!("the asker is still there"),
    }
}

#[test]
fn tenants_take_turns_in_the_queue() {
    let names = ["1-9.0-a", "2-9.0-a", "3-9.0-a", "4-9.0-b", "5-9.0-c", "6-9.0-b"].map(str::to_owned).to_vec();
    let turn = |tenant: &str| SystemTime::UNIX_EPOCH + Duration::from_secs(if tenant == "c" { 1 } else { 2 });
    assert_eq!(order(names, turn), ["5-9.0-c", "1-9.0-a", "4-9.0-b", "2-9.0-a", "6-9.0-b", "3-9.0-a"]);
    assert_eq!((tenant("1-9.0-a"), tenant("x"), tenant("a-b"), tenant("1-2-")), (Some("a"), None, None, None));
}

#[test]
fn a_burst_of_one_tenant_delays_no_other_for_long() {
    let folder = Folder::new("burst");
    let held = slot(&folder.queue("noisy"), Duration::ZERO).unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let wait = |tenant: &'static str, number: usize| {
            let (queue, served) = (folder.queue(tenant), served.clone());
            scope.spawn(move || {
                let slot = slot(&queue, Duration::from_secs(60)).unwrap();
                served.lock().unwrap().push((tenant, number));
                std::thread::sleep(Duration::from_millis(5));
                drop(slot);
            });
            while folder.waiting() <= number {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        (0..12).for_each(|number| wait("noisy", number));
        wait("quiet", 12);
        drop(held);
    });
    let served = served.lock().unwrap();
    assert_eq!(served[0], ("quiet", 12), "a tenant that has never had a turn is first");
    let noisy: Vec<_> = served[1..].iter().map(|(_, number)| *number).collect();
    assert_eq!(noisy, (0..12).collect::<Vec<_>>(), "one tenant's orders are served in the order of arrival");
    assert_eq!(folder.waiting(), 0);
}

#[test]
fn the_ticket_of_a_dead_or_impatient_driver_is_removed() {
    let folder = Folder::new("dead");
    let queue = folder.queue("a");
    let held = slot(&queue, Duration::ZERO).unwrap();
    fs::create_dir_all(queue.queue()).unwrap();
    // A killed driver leaves a ticket without a lock.
    fs::write(queue.queue().join("00000000000000000001-7.0-b"), "").unwrap();
    assert!(slot(&queue, Duration::from_millis(50)).is_none());
    assert_eq!(folder.waiting(), 0, "both tickets are removed, the dead driver's and the one that gave up");
    drop(held);
    assert!(slot(&queue, Duration::ZERO).is_some());
}

#[test]
fn a_stopped_process_at_the_head_of_the_queue_is_passed() {
    let folder = Folder::new("stuck");
    let stopped = folder.queue("a").ticket(now()).unwrap();
    let begin = Instant::now();
    assert!(slot(&folder.queue("a"), Duration::from_secs(30)).is_some());
    assert!(begin.elapsed() >= STUCK);
    drop(stopped);
}

#[test]
fn old_tenants_are_forgotten() {
    let folder = Folder::new("tenants");
    for number in 0..5 {
        drop(slot(&folder.queue(&number.to_string()), Duration::ZERO).unwrap());
        std::thread::sleep(Duration::from_millis(2));
    }
    let served = folder.0.join("served");
    forget(&served, 4).unwrap();
    assert_eq!(fs::read_dir(&served).unwrap().count(), 3);
    assert_ne!(
        folder.queue("").last_turn(&folder.queue("4").tenant),
        SystemTime::UNIX_EPOCH,
        "the latest tenants are remembered"
    );
}

#[test]
fn a_cancelled_order_ends_and_its_retry_keeps_the_place_in_line() {
    let folder = Folder::new("left");
    let held = slot(&folder.queue("a"), Duration::ZERO).unwrap();
    let (asker, shim) = Asker::pair();
    let until = Until { limit: Duration::from_secs(60), asker: &asker };
    let first = Queue::new(folder.0.clone(), 1, "a", "first");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| first.slot(until).unwrap());
        while folder.waiting() < 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(shim);
        assert!(matches!(waiting.join().unwrap(), Turn::Unwanted));
    });
    assert_eq!(folder.waiting(), 0, "no ticket is left");
    // Another order comes, and then the first one again.
    let second = Queue::new(folder.0.clone(), 1, "a", "second").ticket(now()).unwrap();
    let retried = first.ticket(first.place_kept().unwrap()).unwrap();
    assert_eq!(first.place(&retried).unwrap().before, 0, "the retry is before the second order");
    assert_eq!(first.place(&second).unwrap().before, 1);
    assert_eq!(first.place_kept(), None, "a place is taken over once");
    assert_eq!(Queue::new(folder.0.clone(), 1, "b", "first").place_kept(), None, "a place is not another tenant's");
    drop((held, second, retried));
}

#[test]
fn places_in_line_expire_and_are_limited() {
    let folder = Folder::new("kept");
    let keep = |module: &str| Queue::new(folder.0.clone(), 1, "a", module).keep_place(7).unwrap();
    let kept = |module: &str| Queue::new(folder.0.clone(), 1, "a", module).place_kept();
    (0..MOST_KEPT + 5).for_each(|number| keep(&number.to_string()));
    let left = folder.0.join("left");
    assert_eq!(fs::read_dir(&left).unwrap().count(), MOST_KEPT);
    for entry in fs::read_dir(&left).unwrap() {
        let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - KEPT).unwrap();
    }
    assert_eq!(kept("0"), None, "too old");
    keep("new");
    assert_eq!(fs::read_dir(&left).unwrap().count(), 1, "expired places are removed");
    assert_eq!((kept("new"), kept("new")), (Some(7), None));
}

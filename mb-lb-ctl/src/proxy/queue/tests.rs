use std::sync::atomic::AtomicBool;
use std::task::{Context, Waker};
use std::time::Duration;

use super::*;

/// A guard against hanging, not a condition.
const SOON: Duration = Duration::from_secs(60);

fn one() -> (Arc<Server>, Arc<Queue>) {
    (Arc::new(Server::default()), Arc::new(Queue::default()))
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what)
        .await
        .expect("nobody hangs")
}

/// A task that waits for this very server, or for any.
fn wait(
    server: &Arc<Server>,
    queue: &Arc<Queue>,
    is_bound: bool,
) -> tokio::task::JoinHandle<Place> {
    let (server, queue) = (Arc::clone(server), Arc::clone(queue));
    tokio::spawn(async move {
        let take = || Place::take(&server, &queue, Some(1));
        queue.wait(is_bound.then_some(&server), take).await
    })
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let (server, queue) = one();
    let first = Place::take(&server, &queue, Some(1)).expect("room");
    assert!(Place::take(&server, &queue, Some(1)).is_none());
    let mut waiting = VecDeque::new();
    for is_bound in [false, true, true, false] {
        waiting.push_back(wait(&server, &queue, is_bound));
        tokio::task::yield_now().await;
    }
    assert_eq!(server.load(), 1 + 2, "those that wait for it count");
    let mut place = first;
    while let Some(next) = waiting.pop_front() {
        drop(place);
        place = soon(next).await.expect("a place");
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    }
    drop(place);
    assert_eq!(server.counted().opened, 5);
    assert_eq!(server.counted().closed, 5);
    assert_eq!(server.load(), 0);
}

#[tokio::test]
async fn newcomers_do_not_overtake() {
    let (server, queue) = one();
    let first = Place::take(&server, &queue, Some(1)).expect("room");
    let waiting = wait(&server, &queue, false);
    tokio::task::yield_now().await;
    drop(first);
    // He has not woken up yet.
    assert!(server.has_room(Some(1)));
    assert!(!queue.has_room(&server, Some(1), true));
    assert!(
        queue.has_room(&server, Some(1), false),
        "a server that takes no new users is nothing for him"
    );
    // Nor by standing behind him.
    let next = wait(&server, &queue, true);
    let place = soon(waiting).await.expect("a place");
    tokio::task::yield_now().await;
    assert!(!next.is_finished());
    drop(place);
    drop(soon(next).await.expect("a place"));
    assert!(queue.has_room(&server, Some(1), true));
}

/// Two places become free while one waits; the second is for who comes next, before the first has woken up.
#[tokio::test]
async fn a_place_that_nobody_could_be_told_of_is_for_the_next() {
    let (one, queue) = one();
    let other = Arc::new(Server::default());
    let places = [&one, &other].map(|server| Place::take(server, &queue, Some(1)));
    let take =
        || Place::take(&one, &queue, Some(1)).or_else(|| Place::take(&other, &queue, Some(1)));
    let (first, second) = (queue.wait(None, take), queue.wait(None, take));
    tokio::pin!(first, second);
    let mut context = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut context).is_pending());
    drop(places);
    // The first was told of one of them, and does not run.
    let second = soon(second).await;
    let first = soon(first).await;
    assert_eq!((one.load(), other.load()), (1, 1));
    drop((first, second));
}

#[tokio::test]
async fn who_waits_for_a_server_that_fails_is_told() {
    let (server, queue) = one();
    let _one = Place::take(&server, &queue, Some(1)).expect("room");
    let is_up = Arc::new(AtomicBool::new(true));
    let waiting = {
        let (server, queue, is_up) = (server.clone(), queue.clone(), is_up.clone());
        tokio::spawn(async move {
            let take = || match is_up.load(Ordering::Relaxed) {
                true => Place::take(&server, &queue, Some(1)).map(Some),
                false => Some(None),
            };
            queue.wait(Some(&server), take).await.is_some()
        })
    };
    tokio::task::yield_now().await;
    queue.look_again();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    is_up.store(false, Ordering::Relaxed);
    queue.look_again();
    assert!(!waiting.await.expect("it runs"));
    assert_eq!(server.load(), 1);
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_no_trace() {
    let (server, queue) = one();
    let place = Place::take(&server, &queue, Some(1)).expect("room");
    let take = || Place::take(&server, &queue, Some(1));
    let waiting = queue.wait(Some(&server), take);
    let gave_up = tokio::time::timeout(Duration::ZERO, waiting).await;
    assert!(gave_up.is_err());
    assert_eq!(server.load(), 1);
    drop(place);
    assert!(queue.has_room(&server, Some(1), true));
}

#[tokio::test]
async fn who_was_told_and_goes_tells_the_next() {
    let (server, queue) = one();
    let place = Place::take(&server, &queue, Some(1)).expect("room");
    let goes = wait(&server, &queue, false);
    tokio::task::yield_now().await;
    let stays = wait(&server, &queue, true);
    tokio::task::yield_now().await;
    drop(place);
    // It was told, and did not run since.
    goes.abort();
    assert!(goes.await.is_err_and(|error| error.is_cancelled()));
    assert!(soon(stays).await.is_ok());
}

/// Places at servers that take no new users are nothing for who waits for any, however often they become free.
#[test]
fn what_nobody_wants_is_offered_once() {
    let (tell, told) = std::sync::mpsc::channel();
    // Who goes round in circles never comes back to his thread.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(offer_what_nobody_wants());
        tell.send(()).expect("the test listens");
    });
    told.recv_timeout(SOON).expect("it comes to its end");
}

async fn offer_what_nobody_wants() {
    let (good, queue) = one();
    let others = [Arc::new(Server::default()), Arc::new(Server::default())];
    let places = others
        .each_ref()
        .map(|server| Place::take(server, &queue, Some(1)));
    let only = Place::take(&good, &queue, Some(1));
    let waiting: Vec<_> = (0..3).map(|_| wait(&good, &queue, false)).collect();
    tokio::task::yield_now().await;
    for place in places {
        drop(place);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    drop(only);
    for waiting in waiting {
        drop(waiting.await.expect("a place"));
    }
}

#[tokio::test]
async fn no_more_may_wait_than_so_many() {
    let (server, queue) = one();
    let mut tickets: Vec<_> = (1..MOST).map(|_| queue.join(Some(&server))).collect();
    assert!(!queue.is_full());
    tickets.push(queue.join(None));
    assert!(queue.is_full());
    // In no order.
    tickets.swap_remove(7);
    assert!(!queue.is_full());
}

/// Threads, several servers, and some who give up: nobody waits for a place that is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_word_is_lost() {
    let queue = Arc::new(Queue::default());
    let servers: Arc<Vec<_>> = Arc::new((0..3).map(|_| Arc::new(Server::default())).collect());
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let (queue, servers) = (Arc::clone(&queue), Arc::clone(&servers));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                let mut served = 0_u32;
                for _ in 0..400 {
                    let bound = random.bool().then(|| random.usize(..servers.len()));
                    let take = || {
                        let mut all = servers.iter().enumerate();
                        all.find_map(|(at, server)| match bound {
                            Some(bound) if bound != at => None,
                            _ => Place::take(server, &queue, Some(2)),
                        })
                    };
                    let waiting = queue.wait(bound.map(|at| &servers[at]), take);
                    let place = match random.u8(..8) {
                        0 => tokio::time::timeout(Duration::from_micros(50), waiting)
                            .await
                            .ok(),
                        _ => Some(waiting.await),
                    };
                    served += u32::from(place.is_some());
                    for _ in 0..random.u8(..3) {
                        tokio::task::yield_now().await;
                    }
                }
                served
            })
        })
        .collect();
    let all = async {
        let mut served = 0;
        for task in tasks {
            served += task.await.expect("no panic");
        }
        served
    };
    let served = soon(all).await;
    let opened: u64 = servers.iter().map(|server| server.counted().opened).sum();
    assert!(opened >= u64::from(served));
    assert!(served > 64 * 300);
    assert!(servers.iter().all(|server| server.load() == 0));
}

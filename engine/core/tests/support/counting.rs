//! An allocator that counts what threads other than the driver's allocate, and what both tests
//! that use it need beside it.

use std::alloc::{GlobalAlloc, Layout as Shape, System};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vhost_pvscsi_core::engine::Engine;
use vhost_pvscsi_core::mailbox::Event;
use vmm_sys_util::eventfd::EventFd;

/// Allocations by threads other than the driver's.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// The driver's thread, which may allocate.
static DRIVER: AtomicI32 = AtomicI32::new(0);

struct Counting;

fn note() {
    // SAFETY: gettid has no preconditions.
    if unsafe { libc::gettid() } != DRIVER.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, shape: Shape) -> *mut u8 {
        note();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(shape) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, shape: Shape) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, shape) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, shape: Shape, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, shape, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// Whoever calls this may allocate.
pub fn this_is_the_driver() {
    // SAFETY: gettid has no preconditions.
    DRIVER.store(unsafe { libc::gettid() }, Ordering::Relaxed);
}

/// Allocations by threads other than the driver's.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Wait for a call; not for ever, as one may have come before it was asked for.
pub fn wait_for_call(call: &EventFd) {
    let mut poll = libc::pollfd { fd: call.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    if unsafe { libc::poll(&mut poll, 1, 1000) } == 1 {
        call.read().unwrap();
    }
}

/// Wait for the end of an order.
pub fn wait_done(engine: &Engine, ticket: u64) {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        for event in engine.take(64) {
            if let Event::Done { ticket: done, error, .. } = event {
                assert_eq!(error, "");
                if done == ticket {
                    return;
                }
            }
        }
        std::thread::yield_now();
    }
    panic!("waited 10 s for the end of an order");
}

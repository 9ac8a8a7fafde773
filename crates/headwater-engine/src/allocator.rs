//! The C library's allocator, told to hold no more than it has to.

/// Makes all threads share one heap. With a heap for each thread, what one has freed is kept from the others: at a
/// small `memory` the process then takes a fourth more than it uses, and is not faster.
///
/// For programs that run an [`Engine`](crate::Engine): call it first in `main`, before any thread is started. Other C libraries have no such setting, and need none.
pub fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::share_one_heap();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    #[allow(unsafe_code, reason = "the allocator of the C library has no other interface")]
    pub(super) fn share_one_heap() {
        // SAFETY: the call sets a number inside the allocator, takes no pointer, and no other thread runs yet. Where it
        // is refused, everything stays as it was.
        let _accepted: i32 = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

//! Ways to find or undo what a message wrote, by what the kernel offers.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::ran;

const PAGE: usize = 4096;
const TURNS: usize = 200;

/// What a way costs beyond the bare writes, in microseconds: for a message that is kept, and for
/// one that is rolled back. None where the system does not offer it.
type Cost = Option<(f64, f64)>;

/// The costs of each way, for messages that write these pages of a memory of this size.
pub fn costs(size: usize, pages: &[usize]) -> Vec<(&'static str, Cost)> {
    vec![
        ("mprotect, SIGSEGV, copies of the old pages", mprotect(size, pages)),
        ("private mapping of a memfd, written back", private(size, pages)),
        ("userfaultfd, asynchronous, and a second copy", asynchronous(size, pages)),
    ]
}

/// A mapping that is unmapped when it is dropped.
struct Mapping {
    at: *mut u8,
    size: usize,
}

impl Mapping {
    fn new(size: usize, flags: i32, fd: i32) -> Option<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let at = unsafe { libc::mmap(null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        (at != libc::MAP_FAILED).then_some(Self { at: at.cast(), size })
    }

    fn anonymous(size: usize) -> Option<Self> {
        Self::new(size, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
    }

    /// What a guest does: reads and writes all over each of its pages.
    fn write(&self, pages: &[usize], value: u64) {
        for page in pages {
            for word in (0..PAGE).step_by(64) {
                // SAFETY: the page lies in the mapping, which nobody else reads.
                unsafe { self.at.add(page * PAGE + word).cast::<u64>().write_volatile(value) };
            }
        }
    }

    fn page(&self, page: usize) -> *mut u8 {
        // SAFETY: the page lies in the mapping.
        unsafe { self.at.add(page * PAGE) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing points into it any more.
        unsafe { libc::munmap(self.at.cast(), self.size) };
    }
}

/// The least time of a turn, in microseconds.
fn least(mut turn: impl FnMut(u64) -> Option<()>) -> Option<f64> {
    let mut least = f64::INFINITY;
    for number in 0..TURNS {
        let start = ran();
        turn(number as u64 + 1)?;
        least = least.min((ran() - start).as_secs_f64() * 1e6);
    }
    Some(least)
}

fn bare(size: usize, pages: &[usize]) -> Option<f64> {
    let memory = Mapping::anonymous(size)?;
    least(|number| {
        memory.write(pages, number);
        Some(())
    })
}

fn copy(from: *const u8, to: *mut u8) {
    // SAFETY: both are whole pages of different mappings.
    unsafe { std::ptr::copy_nonoverlapping(from, to, PAGE) };
}

static REGION: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static REGION_BYTES: AtomicUsize = AtomicUsize::new(0);
static SAVED: AtomicPtr<u8> = AtomicPtr::new(null_mut());
static SAVED_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Saves the page that was written to and lets the write go on.
extern "C" fn on_fault(_: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel gives a valid record.
    let at = unsafe { (*info).si_addr() } as usize;
    let region = REGION.load(Ordering::Relaxed);
    let offset = at.wrapping_sub(region as usize);
    if offset >= REGION_BYTES.load(Ordering::Relaxed) {
        // SAFETY: ends the process, which is all that is left to do.
        unsafe { libc::abort() };
    }
    let page = offset & !(PAGE - 1);
    let number = SAVED_COUNT.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the page lies in the region, and there is room for as many as are written in a turn.
    unsafe {
        let page = region.add(page);
        copy(page, SAVED.load(Ordering::Relaxed).add(number * PAGE));
        libc::mprotect(page.cast(), PAGE, libc::PROT_READ | libc::PROT_WRITE);
    }
}

fn mprotect(size: usize, pages: &[usize]) -> Cost {
    let bare = bare(size, pages)?;
    let (memory, saved) = (Mapping::anonymous(size)?, Mapping::anonymous(pages.len() * PAGE)?);
    memory.write(pages, 0);
    REGION.store(memory.at, Ordering::Relaxed);
    REGION_BYTES.store(size, Ordering::Relaxed);
    SAVED.store(saved.at, Ordering::Relaxed);
    // SAFETY: the handler only touches the two mappings, and the old one is put back below.
    let old = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut old: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        (libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut old) == 0).then_some(old)
    }?;
    let kept = least(|number| {
        SAVED_COUNT.store(0, Ordering::Relaxed);
        // SAFETY: what is written to it is let through by the handler.
        let protected = unsafe { libc::mprotect(memory.at.cast(), size, libc::PROT_READ) };
        memory.write(pages, number);
        (protected == 0).then_some(())
    });
    let restored = least(|_| {
        for (index, page) in pages.iter().enumerate() {
            copy(saved.page(index), memory.page(*page));
        }
        Some(())
    });
    // SAFETY: puts back what was there.
    unsafe { libc::sigaction(libc::SIGSEGV, &raw const old, null_mut()) };
    let (kept, restored) = (kept?, restored?);
    Some((kept - bare, kept - bare + restored))
}

fn private(size: usize, pages: &[usize]) -> Cost {
    let bare = bare(size, pages)?;
    // SAFETY: makes a file that only we have.
    let fd = unsafe { libc::memfd_create(c"weft-bench".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: the descriptor is ours.
    if fd < 0 || unsafe { libc::ftruncate(fd, size as i64) } != 0 {
        return None;
    }
    let memory = Mapping::new(size, libc::MAP_PRIVATE | libc::MAP_NORESERVE, fd)?;
    // SAFETY: drops the pages that were written; the file's show again.
    let forget = || unsafe { libc::madvise(memory.at.cast(), size, libc::MADV_DONTNEED) == 0 };
    let kept = least(|number| {
        memory.write(pages, number);
        for page in pages {
            let at = (page * PAGE) as i64;
            // SAFETY: a whole page of the mapping is read into the file at its place.
            let written = unsafe { libc::pwrite(fd, memory.page(*page).cast(), PAGE, at) };
            if written != PAGE as isize {
                return None;
            }
        }
        forget().then_some(())
    });
    let failed = least(|number| {
        memory.write(pages, number);
        forget().then_some(())
    });
    // SAFETY: nobody uses it after this.
    unsafe { libc::close(fd) };
    Some((kept? - bare, failed? - bare))
}

const UFFDIO_API: u64 = 0xC018_AA3F;
const UFFDIO_REGISTER: u64 = 0xC020_AA00;
const UFFD_API: u64 = 0xAA;
const WP_UNPOPULATED: u64 = 1 << 13;
const WP_ASYNC: u64 = 1 << 15;
const REGISTER_WP: u64 = 1 << 1;
const PAGEMAP_SCAN: u64 = 0xC060_6610;
const SCAN_PROTECTS: u64 = 1 << 0;
const PAGE_IS_WRITTEN: u64 = 1 << 1;

/// Calls an ioctl with words in and out.
fn ioctl<const N: usize>(fd: i32, request: u64, words: &mut [u64; N]) -> i32 {
    // SAFETY: each request here takes a struct of so many words and nothing else.
    unsafe { libc::ioctl(fd, request as _, words.as_mut_ptr()) }
}

fn asynchronous(size: usize, pages: &[usize]) -> Cost {
    let bare = bare(size, pages)?;
    let memory = Mapping::anonymous(size)?;
    let shadow = Mapping::anonymous(size)?;
    memory.write(pages, 0);
    shadow.write(pages, 0);
    // SAFETY: makes a descriptor that only we have.
    let fault = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1) } as i32;
    // SAFETY: opens a file to read.
    let pagemap = unsafe { libc::open(c"/proc/self/pagemap".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fault < 0 || pagemap < 0 {
        return None;
    }
    let begin = memory.at as u64;
    if ioctl(fault, UFFDIO_API, &mut [UFFD_API, WP_ASYNC | WP_UNPOPULATED, 0]) != 0
        || ioctl(fault, UFFDIO_REGISTER, &mut [begin, size as u64, REGISTER_WP, 0]) != 0
    {
        return None;
    }
    let mut regions = vec![[0u64; 3]; pages.len() + 1];
    // What was written since the last time, write-protected again.
    let mut written = || {
        let (start, end) = (begin, begin + size as u64);
        let (room, to) = (regions.len() as u64, regions.as_mut_ptr() as u64);
        let mut scan =
            [96, SCAN_PROTECTS, start, end, 0, to, room, 0, 0, PAGE_IS_WRITTEN, 0, PAGE_IS_WRITTEN];
        let count = usize::try_from(ioctl(pagemap, PAGEMAP_SCAN, &mut scan)).ok()?;
        regions.get(..count).map(<[[u64; 3]]>::to_vec)
    };
    written()?;
    let copy_all = |regions: &[[u64; 3]], back: bool| {
        let mut count = 0;
        for [start, end, _] in regions {
            for at in (*start..*end).step_by(PAGE) {
                let page = (at - begin) as usize / PAGE;
                let (from, to) = if back { (&shadow, &memory) } else { (&memory, &shadow) };
                copy(from.page(page), to.page(page));
                count += 1;
            }
        }
        count
    };
    let kept = least(|number| {
        memory.write(pages, number);
        let found = written()?;
        (copy_all(&found, false) == pages.len()).then_some(())
    });
    let failed = least(|number| {
        memory.write(pages, number);
        let found = written()?;
        copy_all(&found, true);
        // What was put back counts as written again.
        written().map(drop)
    });
    // SAFETY: nobody uses them after this.
    unsafe {
        libc::close(fault);
        libc::close(pagemap);
    }
    Some((kept? - bare, failed? - bare))
}

// SPDX-License-Identifier: GPL-2.0
// The bank in Rust, by its foreign function interface to <stm/tx.h>.
//
//   bank REGION transfer SEED    moves money for ever
//   bank REGION audit N          adds all of it up N times; fails if a sum is wrong
use std::ffi::{c_void, CString};
use std::io::Error;
use std::marker::PhantomData;
use std::os::raw::{c_char, c_int};

const ACCOUNTS: u64 = 64;
const EACH: i64 = 1000;
const COUNTER: u64 = 4104; // transfers that programs of this language have made
const STM_TX_READ_ONLY: c_int = 1;
const EINTR: i32 = 4;

#[repr(C)]
struct StmRegion(c_void);
#[repr(C)]
struct StmTx(c_void);

#[link(name = "stm")]
extern "C" {
    fn stm_region_open(name: *const c_char, size: usize, flags: c_int, mode: u32)
        -> *mut StmRegion;
    fn stm_region_close(region: *mut StmRegion);
    fn stm_tx_begin(region: *mut StmRegion, flags: c_int) -> *mut StmTx;
    fn stm_tx_load(tx: *mut StmTx, region: *mut StmRegion, offset: u64, to: *mut c_void,
                   bytes: usize) -> c_int;
    fn stm_tx_store(tx: *mut StmTx, region: *mut StmRegion, offset: u64, from: *const c_void,
                    bytes: usize) -> c_int;
    fn stm_tx_commit(tx: *mut StmTx) -> c_int;
    fn stm_tx_cancel(tx: *mut StmTx);
}

/// The body has to be left; the commit tells whether it runs again.
struct Left;

struct Region(*mut StmRegion);

/// A running transaction. It belongs to its thread: neither Send nor Sync.
struct Transaction<'a> {
    tx: *mut StmTx,
    region: &'a Region,
    thread: PhantomData<*mut c_void>,
}

impl Region {
    fn open(name: &str) -> Result<Region, Error> {
        let name = CString::new(name)?;
        let region = unsafe { stm_region_open(name.as_ptr(), 0, 0, 0) };
        if region.is_null() { Err(Error::last_os_error()) } else { Ok(Region(region)) }
    }

    fn begin(&self, flags: c_int) -> Result<Transaction<'_>, Error> {
        let tx = unsafe { stm_tx_begin(self.0, flags) };
        if tx.is_null() {
            return Err(Error::last_os_error());
        }
        Ok(Transaction { tx, region: self, thread: PhantomData })
    }

    /// Runs the body as a whole or not at all. It may run more than once.
    fn atomically<T>(&self, flags: c_int,
                     mut body: impl FnMut(&Transaction) -> Result<T, Left>) -> Result<T, Error> {
        let mut tx = self.begin(flags)?;
        loop {
            let value = body(&tx);
            let ended = unsafe { stm_tx_commit(tx.tx) };
            let error = Error::last_os_error();
            if ended <= 0 {
                // It is over, and the destructor has nothing to undo.
                tx.tx = std::ptr::null_mut();
            }
            match (ended, value) {
                (0, Ok(value)) => return Ok(value),
                (0, Err(Left)) => unreachable!("a body that was left has been committed"),
                (again, _) if again > 0 => {}
                _ if error.raw_os_error() == Some(EINTR) => tx = self.begin(flags)?,
                _ => return Err(error),
            }
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unsafe { stm_region_close(self.0) }
    }
}

impl Transaction<'_> {
    fn load(&self, offset: u64) -> Result<i64, Left> {
        let mut value = 0i64;
        let to = &mut value as *mut i64 as *mut c_void;
        match unsafe { stm_tx_load(self.tx, self.region.0, offset, to, 8) } {
            0 => Ok(value),
            _ => Err(Left),
        }
    }

    fn store(&self, offset: u64, value: i64) -> Result<(), Left> {
        let from = &value as *const i64 as *const c_void;
        match unsafe { stm_tx_store(self.tx, self.region.0, offset, from, 8) } {
            0 => Ok(()),
            _ => Err(Left),
        }
    }
}

/// A body that panics leaves a transaction without an effect.
impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.tx.is_null() {
            unsafe { stm_tx_cancel(self.tx) }
        }
    }
}

fn transfer_for_ever(bank: &Region, seed: u64) -> Result<(), Error> {
    let mut state = seed.wrapping_mul(0x9e3779b97f4a7c15) | 1;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    loop {
        let (from, to) = (8 * below(ACCOUNTS), 8 * below(ACCOUNTS));
        let amount = below(100) as i64;
        bank.atomically(0, |tx| {
            let there = tx.load(from)?;
            if there >= amount {
                tx.store(from, there - amount)?;
                tx.store(to, tx.load(to)? + amount)?;
                tx.store(COUNTER, tx.load(COUNTER)? + 1)?;
            }
            Ok(())
        })?;
    }
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().collect();
    let bank = Region::open(&words[1])?;
    let number = words[3].parse().expect("a number");
    if words[2] == "transfer" {
        return transfer_for_ever(&bank, number);
    }
    for _ in 0..number {
        let total: i64 = bank.atomically(STM_TX_READ_ONLY, |tx| {
            (0..ACCOUNTS).map(|account| tx.load(8 * account)).sum()
        })?;
        assert_eq!(total, ACCOUNTS as i64 * EACH);
    }
    Ok(())
}

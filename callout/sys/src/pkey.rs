// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel does with a key that it lets nobody read: keyctl(2),
//! `KEYCTL_PKEY_QUERY` and its sisters, of which linux-keyutils has none.

use std::ffi::CStr;
use std::io;

/// `struct keyctl_pkey_query` of linux/keyctl.h.
#[repr(C)]
#[derive(Default)]
struct Query {
    supported_ops: u32,
    key_size: u32,
    max_data_size: u16,
    max_sig_size: u16,
    max_enc_size: u16,
    max_dec_size: u16,
    spare: [u32; 10],
}

/// `struct keyctl_pkey_params` of linux/keyctl.h.
#[repr(C)]
struct Parameters {
    key_id: i32,
    in_len: u32,
    out_len: u32,
    spare: [u32; 7],
}

/// There is no passphrase, which is what the kernel wants it to be.
const NO_PASSPHRASE: usize = 0;

/// `keyctl(KEYCTL_PKEY_QUERY)`: the size of an asymmetric key, in bits.
///
/// `info` says what is to be done with it, as for the others.
///
/// # Errors
///
/// What the system call says: EOPNOTSUPP of keys that are not asymmetric, ENOKEY,
/// EACCES and so on.
pub fn pkey_size(key: i32, info: &CStr) -> io::Result<u32> {
    let mut query = Query::default();
    // SAFETY: KEYCTL_PKEY_QUERY reads a string that ends with a 0, and writes a
    // struct keyctl_pkey_query, which `query` is laid out as. The references keep
    // both alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_PKEY_QUERY,
            key,
            NO_PASSPHRASE,
            info.as_ptr(),
            &raw mut query,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(query.key_size)
}

/// `keyctl(KEYCTL_PKEY_ENCRYPT)`: what an asymmetric key makes of `data` by its
/// public half, at most `size` bytes.
///
/// # Errors
///
/// What the system call says: EINVAL if `data` or `size` are longer than the key
/// allows, or `info` is not understood; ENOKEY, EACCES and so on.
pub fn pkey_encrypt(key: i32, info: &CStr, data: &[u8], size: usize) -> io::Result<Vec<u8>> {
    pkey_operation(libc::KEYCTL_PKEY_ENCRYPT, key, info, data, size)
}

/// `keyctl(KEYCTL_PKEY_SIGN)`: an asymmetric key's signature of a digest, at most
/// `size` bytes.
///
/// # Errors
///
/// As [`pkey_encrypt`].
pub fn pkey_sign(key: i32, info: &CStr, digest: &[u8], size: usize) -> io::Result<Vec<u8>> {
    pkey_operation(libc::KEYCTL_PKEY_SIGN, key, info, digest, size)
}

fn pkey_operation(
    operation: u32,
    key: i32,
    info: &CStr,
    input: &[u8],
    size: usize,
) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut output = vec![0_u8; size];
    let parameters = Parameters {
        key_id: key,
        in_len: input.len().try_into().map_err(too_long)?,
        out_len: output.len().try_into().map_err(too_long)?,
        spare: [0; 7],
    };
    // SAFETY: these operations read a struct keyctl_pkey_params, which
    // `parameters` is laid out as, a string that ends with a 0, and in_len bytes of
    // the input; they write at most out_len bytes to the output. Both lengths are
    // those of the buffers, and the references keep all four alive.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            operation,
            &raw const parameters,
            info.as_ptr(),
            input.as_ptr(),
            output.as_mut_ptr(),
        )
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    output.truncate(length);
    Ok(output)
}

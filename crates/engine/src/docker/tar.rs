//! As much of the tar format (POSIX.1-1988 ustar) as it takes to read and set the owner of one directory.

/// One block.
const BLOCK: usize = 512;
/// The largest number that seven octal digits hold.
const OCTAL_MAX: u32 = 0o7_777_777;

/// Owner and permission bits of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Top {
    /// The user, and the group of the same number.
    pub(crate) uid: u32,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// An archive of nothing but one directory, whose path has at most 99 bytes.
pub(crate) fn directory(path: &str, top: Top) -> Vec<u8> {
    archive(path, b'5', top, &[])
}

/// An archive of nothing but one file, whose path has at most 99 bytes.
pub(crate) fn file(path: &str, top: Top, content: &[u8]) -> Vec<u8> {
    archive(path, b'0', top, content)
}

fn archive(path: &str, kind: u8, top: Top, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path.as_bytes()[..path.len().min(99)]);
    put(100, format!("{:07o}\0", top.mode & 0o7777).as_bytes());
    put(108, &number(top.uid));
    put(116, &number(top.uid));
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\0");
    put(263, b"00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    // Two empty blocks end an archive.
    archive.resize(archive.len().next_multiple_of(BLOCK) + BLOCK * 2, 0);
    archive
}

/// The first entry of an archive, if it is whole and a directory.
pub(crate) fn first_directory(archive: &[u8]) -> Option<Top> {
    let mut rest = archive;
    loop {
        let header = rest.get(..BLOCK)?;
        match header[156] {
            b'5' => {
                return Some(Top {
                    uid: parse(&header[108..116])?,
                    mode: parse(&header[100..108])? & 0o7777,
                });
            }
            // Extended headers stand before the entry they are about.
            b'x' | b'g' => {
                let size = usize::try_from(parse(&header[124..136])?).ok()?;
                rest = rest.get(BLOCK.checked_add(size.div_ceil(BLOCK) * BLOCK)?..)?;
            }
            _ => return None,
        }
    }
}

/// Octal digits, or where those do not suffice the number itself behind a set first bit, as GNU tar has it.
fn number(value: u32) -> [u8; 8] {
    let mut field = [0_u8; 8];
    if value <= OCTAL_MAX {
        field.copy_from_slice(format!("{value:07o}\0").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&value.to_be_bytes());
    }
    field
}

fn parse(field: &[u8]) -> Option<u32> {
    if field[0] & 0x80 != 0 {
        let last = field.len() - 4;
        let fits = field[1..last].iter().all(|b| *b == 0) && field[0] == 0x80;
        return fits.then(|| u32::from_be_bytes([field[last], field[last + 1], field[last + 2], field[last + 3]]));
    }
    let text = std::str::from_utf8(field).ok()?;
    u32::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_whatever_the_size_of_the_number() {
        for uid in [0, 65_532, OCTAL_MAX, OCTAL_MAX + 1, u32::MAX] {
            let top = Top { uid, mode: 0o700 };
            let archive = directory("./", top);
            assert_eq!(
                (archive.len(), first_directory(&archive)),
                (3 * BLOCK, Some(top)),
                "{uid}"
            );
        }
    }

    #[test]
    fn an_extended_header_is_skipped_and_half_an_archive_tells_nothing() {
        let top = Top { uid: 999, mode: 0o750 };
        let mut archive = directory("./", Top { uid: 0, mode: 0o644 });
        archive.truncate(BLOCK);
        archive[156] = b'x';
        archive[124..136].copy_from_slice(b"00000000020\0");
        archive.extend([b'x'; BLOCK]);
        assert_eq!(first_directory(&archive), None);
        archive.extend(directory("./", top));
        assert_eq!(first_directory(&archive), Some(top));
        assert_eq!(first_directory(b"not an archive"), None);
        archive[124] = b'7';
        assert_eq!(first_directory(&archive), None);
    }
}

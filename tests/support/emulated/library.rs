//! The kernels as a shared library of the CPU: compiled when their sources change, loaded once.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};
use windtunnel::{
    device::gpu::{Arg, Launch},
    digest,
};

/// `Argument` in `emulated.h`.
#[repr(C)]
struct Argument {
    kind: u32,
    unused: u32,
    bits: u64,
}

/// `Launch` in `machine.h`.
#[repr(C)]
struct RawLaunch {
    grid: [u32; 3],
    threads: u32,
    shared: u32,
    arguments: u32,
    seed: u64,
    argument: *const Argument,
}

/// A kernel's entry: launches it, and says what went wrong in words that stay until the thread's next
/// launch, or nothing.
type Entry = unsafe extern "C" fn(*const RawLaunch) -> *const c_char;

/// Why a launch went wrong, and the address at which a kernel had no memory.
pub struct Fault {
    pub why: String,
    pub at: Option<u64>,
}

/// Compiled kernels.
#[derive(Debug)]
pub struct Library {
    library: libloading::Library,
    entries: Mutex<HashMap<&'static str, Option<Entry>>>,
}

/// Beside what the language and the emulator need: the same bits on any machine, casts of pointers as
/// nvcc takes them, and the checks of `checks.h`. Most of a launch is switching between fibers, which is
/// no faster with more optimization than this, while compiling takes half as long again.
const FLAGS: [&str; 10] = [
    "-std=c++17",
    "-O1",
    "-g1",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fno-sanitize-recover=all",
    "-fsanitize=bounds,alignment,shift",
    "-Wno-unknown-pragmas",
    "-DWINDTUNNEL_EMULATED",
];

impl Library {
    /// The kernels of `source`, a file in the repository: from the last time that they were compiled, if
    /// nothing has changed since. Panics where there is no C++ compiler, or it refuses them.
    pub fn of(source: &str) -> Self {
        let path = compiled(&root().join(source));
        // SAFETY: the library is what was compiled from `source`; to load it runs no code but the
        // emulator's constructors of plain data.
        let library = unsafe { libloading::Library::new(&path) }
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self {
            library,
            entries: Mutex::default(),
        }
    }

    /// Whether there is a kernel of this name.
    pub fn has(&self, kernel: &'static str) -> bool {
        self.entry(kernel).is_some()
    }

    fn entry(&self, kernel: &'static str) -> Option<Entry> {
        *self
            .entries
            .lock()
            .unwrap()
            .entry(kernel)
            .or_insert_with(|| {
                let symbol = format!("emulated_{kernel}\0");
                // SAFETY: a symbol of this name is made by KERNEL alone, with this type.
                let found = unsafe { self.library.get::<Entry>(symbol.as_bytes()) };
                found.ok().map(|entry| *entry)
            })
    }

    /// Runs all of a launch, blocks and threads in the order that `seed` says.
    pub fn launch(&self, launch: &Launch, seed: u64) -> Result<(), Fault> {
        let Some(entry) = self.entry(launch.kernel) else {
            return Err(Fault {
                why: format!("there is no kernel {}", launch.kernel),
                at: None,
            });
        };
        let arguments: Vec<_> = launch.args.iter().map(argument).collect();
        let raw = RawLaunch {
            grid: launch.grid,
            threads: launch.threads,
            shared: launch.shared,
            arguments: arguments.len() as u32,
            seed,
            argument: arguments.as_ptr(),
        };
        // SAFETY: `raw` and its arguments outlive the call; the entry checks their number and kinds, and
        // turns an access outside of what is mapped into an error.
        let why = unsafe { entry(&raw) };
        if why.is_null() {
            return Ok(());
        }
        // SAFETY: what an entry returns is text with a zero at its end, until this thread's next launch.
        let why = unsafe { CStr::from_ptr(why) };
        Err(Fault {
            why: why.to_string_lossy().into_owned(),
            at: self.fault(),
        })
    }

    fn fault(&self) -> Option<u64> {
        // SAFETY: `emulated.h` defines it so.
        let at = unsafe {
            let fault = self
                .library
                .get::<unsafe extern "C" fn() -> u64>(b"emulated_fault\0");
            fault.expect("emulated.h defines emulated_fault")()
        };
        (at != 0).then_some(at)
    }
}

fn argument(arg: &Arg) -> Argument {
    let (kind, bits) = match *arg {
        Arg::At(at) => (0, at),
        Arg::U32(x) => (1, u64::from(x)),
        Arg::U64(x) => (2, x),
        Arg::F32(x) => (3, u64::from(x.to_bits())),
    };
    Argument {
        kind,
        unused: 0,
        bits,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the library compiled from `source` is, after compiling it if need be.
fn compiled(source: &Path) -> PathBuf {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let stem = source.file_stem().unwrap().to_string_lossy().into_owned();
    let digest = &digest::sha256(&ingredients(source, &compiler))[..16];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("emulated-{stem}-{digest}.so"));
    if path.exists() {
        return path;
    }
    // Under a name of its own, so that another process never loads half a file.
    let building = tempfile::tempdir_in(folder).unwrap();
    let (object, library) = (building.path().join("o"), building.path().join("so"));
    let mut compile = Command::new(&compiler);
    compile.args(FLAGS).args(["-x", "c++", "-c", "-o"]);
    compile.arg(&object).arg(source);
    for folder in ["src/ops/cuda", "tests/emulator"] {
        compile.arg("-I").arg(root().join(folder));
    }
    run(&mut compile);
    // Apart, since a linker that is told of checks looks for their library.
    run(Command::new(&compiler)
        .args(["-shared", "-o"])
        .args([&library, &object]));
    forget_older(folder, &format!("emulated-{stem}-"));
    fs::rename(&library, &path).unwrap();
    path
}

/// All that decides what comes out: the compiler, its flags, and every file that may be included.
fn ingredients(source: &Path, compiler: &str) -> Vec<u8> {
    let version = Command::new(compiler).arg("--version").output();
    let version = version.unwrap_or_else(|e| panic!("{compiler}: {e}\n  try: {REMEDY}"));
    let mut all = version.stdout;
    all.extend(FLAGS.join(" ").into_bytes());
    let mut files = vec![source.to_path_buf()];
    for folder in ["src/ops/cuda", "tests/emulator"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    files.sort();
    for file in files {
        all.extend(file.to_string_lossy().as_bytes());
        all.extend(fs::read(&file).unwrap());
    }
    all
}

const REMEDY: &str = "install a C++ compiler (Debian: apt install g++), or name one with CXX=...";

fn run(command: &mut Command) {
    let program = command.get_program().to_owned();
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("{program:?}: {e}\n  try: {REMEDY}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Removes what earlier sources were compiled to; a process that has loaded it keeps it.
fn forget_older(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

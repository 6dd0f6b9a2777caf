//! Files from a mirror and from the network, whole and verified or not at all. Every server in here
//! is this machine.

use crate::server::{Answer, Server, header};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};
use windtunnel::{
    data::{
        fetch::{FetchRecipe, MIRROR, RemoteFile, fetch_from},
        ingest::{Format, SourceFile},
        source::SplitRule,
    },
    digest::sha256,
    error::{Error, Result},
    rng::Rng,
};

const PROXIES: [&str; 6] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// Runs a test where no proxy is set: one would be asked for this machine's own ports.
fn directly(name: &str, test: fn()) {
    if PROXIES.iter().all(|proxy| env::var_os(proxy).is_none()) {
        return test();
    }
    let mut child = Command::new(env::current_exe().unwrap());
    PROXIES.iter().for_each(|proxy| {
        child.env_remove(proxy);
    });
    let output = child
        .args([&format!("fetch::{name}"), "--exact"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

/// Some hundred thousand bytes that no other file has.
fn body() -> Vec<u8> {
    let mut rng = Rng::named(40, "a file to fetch");
    (0..300_000).map(|_| rng.next_u32() as u8).collect()
}

fn recipe(server: &Server, body: &[u8]) -> FetchRecipe {
    FetchRecipe {
        name: "plays".into(),
        about: "a test".into(),
        licence: "none".into(),
        format: Format::Text,
        field: String::new(),
        files: vec![RemoteFile {
            url: format!("http://{}/deep/input.txt", server.address),
            file: "plays.txt".into(),
            bytes: Some(body.len() as u64),
            sha256: Some(sha256(body)),
        }],
        split: SplitRule::Tail {
            validation: 0.1,
            test: 0.05,
        },
    }
}

fn fetched(recipe: &FetchRecipe, home: &Path) -> Result<PathBuf> {
    one(fetch_from(recipe, home, None, &mut |_, _| {}))
}

/// The path of the only file.
fn one(files: Result<Vec<SourceFile>>) -> Result<PathBuf> {
    files.map(|mut files| files.remove(0).path)
}

fn part(home: &Path) -> PathBuf {
    home.join("downloads").join("plays.txt.part")
}

/// Files that a fetch left in the home.
pub fn kept(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("downloads")).into_iter().flatten();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn assert_whole(path: &Path, home: &Path) {
    assert!(fs::read(path).unwrap() == body(), "the file differs");
    assert_eq!(kept(home), ["plays.txt"]);
}

/// Bad input, with a remedy that names the mirror.
fn assert_offline(error: &Error) {
    assert_eq!(error.exit_code(), 2);
    assert!(error.problem.starts_with("cannot fetch plays"), "{error}");
    assert!(
        error.remedy.contains(MIRROR) && error.remedy.contains("plays.txt"),
        "{error}"
    );
}

#[test]
fn a_file_is_fetched_once_uncompressed_and_verified_whenever_it_is_used() {
    directly(
        "a_file_is_fetched_once_uncompressed_and_verified_whenever_it_is_used",
        || {
            let home = tempfile::tempdir().unwrap();
            let server = Server::start(vec![Answer::file(&body())]);
            let recipe = recipe(&server, &body());
            let mut heard = Vec::new();
            let mut progress = |done, all| heard.push((done, all));
            let path = one(fetch_from(&recipe, home.path(), None, &mut progress)).unwrap();
            assert_whole(&path, home.path());
            assert!(heard.is_sorted() && heard.last() == Some(&(300_000, 300_000)));
            assert_eq!(fetched(&recipe, home.path()).unwrap(), path);
            let requests = server.requests();
            assert_eq!(requests.len(), 1);
            assert_eq!(
                header(&requests[0], "accept-encoding").as_deref(),
                Some("identity")
            );

            fs::write(&path, b"changed").unwrap();
            let error = fetched(&recipe, home.path()).unwrap_err();
            assert!(
                error.exit_code() == 2 && error.remedy.contains("delete"),
                "{error}"
            );
        },
    );
}

#[test]
fn a_cut_download_goes_on_from_what_is_on_disk() {
    directly("a_cut_download_goes_on_from_what_is_on_disk", || {
        // A server that says how much comes, and one that does not.
        for whole in [
            Answer::file(&body()),
            Answer::file(&body()).without_length(),
        ] {
            let home = tempfile::tempdir().unwrap();
            let cuts = [150_000, 50_000].map(|bytes| whole.clone().cut_after(bytes));
            let server = Server::start([cuts.to_vec(), vec![whole]].concat());
            let recipe = recipe(&server, &body());
            for so_far in [150_000, 200_000] {
                let error = fetched(&recipe, home.path()).unwrap_err();
                assert_offline(&error);
                assert!(
                    error.problem.contains(&format!("{so_far} of 300000")),
                    "{error}"
                );
                assert!(error.remedy.contains("again"), "{error}");
                assert!(fs::read(part(home.path())).unwrap() == body()[..so_far]);
            }
            assert_whole(&fetched(&recipe, home.path()).unwrap(), home.path());
            let ranges = [
                None,
                Some("bytes=150000-".into()),
                Some("bytes=200000-".into()),
            ];
            assert_eq!(server.ranges(), ranges);
        }
    });
}

#[test]
fn a_server_that_ignores_the_range_still_gives_the_right_file() {
    directly(
        "a_server_that_ignores_the_range_still_gives_the_right_file",
        || {
            let home = tempfile::tempdir().unwrap();
            let whole = Answer::file(&body()).without_ranges();
            let server = Server::start(vec![whole.clone().cut_after(100_000), whole]);
            let recipe = recipe(&server, &body());
            assert_offline(&fetched(&recipe, home.path()).unwrap_err());
            assert_whole(&fetched(&recipe, home.path()).unwrap(), home.path());
            assert_eq!(server.ranges(), [None, Some("bytes=100000-".into())]);
        },
    );
}

#[test]
fn a_file_with_another_digest_leaves_nothing_behind() {
    directly("a_file_with_another_digest_leaves_nothing_behind", || {
        let mut wrong = body();
        wrong[200_000] ^= 1;
        let shorter = &body()[..299_999];
        let longer = [&body()[..], b"and more"].concat();
        for wrong in [&wrong, shorter, &longer] {
            let home = tempfile::tempdir().unwrap();
            let server = Server::start(vec![Answer::file(wrong), Answer::file(&body())]);
            let recipe = recipe(&server, &body());
            let error = fetched(&recipe, home.path()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.problem.contains("digest mismatch"), "{error}");
            assert!(error.problem.contains(&sha256(wrong)), "{error}");
            assert!(error.problem.contains(&sha256(&body())), "{error}");
            assert!(kept(home.path()).is_empty());
            assert_whole(&fetched(&recipe, home.path()).unwrap(), home.path());
        }
    });
}

#[test]
fn a_body_without_end_is_not_read_to_its_end() {
    directly("a_body_without_end_is_not_read_to_its_end", || {
        let home = tempfile::tempdir().unwrap();
        let endless = vec![b'x'; 20 << 20];
        let server = Server::start(vec![Answer::file(&endless).without_length()]);
        let mut most = 0;
        let mut progress = |done, _| most = done;
        let recipe = recipe(&server, &body());
        let error = fetch_from(&recipe, home.path(), None, &mut progress).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.problem.contains("digest mismatch"),
            "{error}"
        );
        assert!((300_001..=300_000 + (1 << 16)).contains(&most), "{most}");
        assert!(kept(home.path()).is_empty());
    });
}

#[test]
fn whatever_an_earlier_try_left_the_next_one_gets_the_file() {
    directly(
        "whatever_an_earlier_try_left_the_next_one_gets_the_file",
        || {
            let whole = body();
            let other: Vec<u8> = whole.iter().map(|byte| !byte).collect();
            let longer = [&whole[..], b"and more"].concat();
            // (what is left, requests that it takes)
            for (left, expected) in [
                (&whole[..], 0),
                (&whole[..1], 1),
                (&whole[..299_999], 1),
                (&[], 1),
                (&other[..1000], 2),
                (&other, 1),
                (&longer, 1),
            ] {
                let home = tempfile::tempdir().unwrap();
                let server = Server::start(vec![Answer::file(&whole); 2]);
                fs::create_dir_all(home.path().join("downloads")).unwrap();
                fs::write(part(home.path()), left).unwrap();
                let path = fetched(&recipe(&server, &whole), home.path()).unwrap();
                assert_whole(&path, home.path());
                let n = left.len();
                assert_eq!(server.requests().len(), expected, "{n} bytes were left");
            }
            // The server's file has become shorter than what is here: its status is 416, then it sends
            // what it has.
            let home = tempfile::tempdir().unwrap();
            let shorter = &whole[..1000];
            let server = Server::start(vec![Answer::file(shorter); 2]);
            fs::create_dir_all(home.path().join("downloads")).unwrap();
            fs::write(part(home.path()), &whole[..2000]).unwrap();
            let error = fetched(&recipe(&server, &whole), home.path()).unwrap_err();
            assert!(error.problem.contains(&sha256(shorter)), "{error}");
            assert!(kept(home.path()).is_empty());
        },
    );
}

#[test]
fn a_server_without_the_file_is_said_and_takes_nothing_away() {
    directly(
        "a_server_without_the_file_is_said_and_takes_nothing_away",
        || {
            for status in [404, 500] {
                let home = tempfile::tempdir().unwrap();
                let answers = [
                    Answer::status(status),
                    Answer::status(status),
                    Answer::file(&body()),
                ];
                let server = Server::start(answers.to_vec());
                let recipe = recipe(&server, &body());
                let error = fetched(&recipe, home.path()).unwrap_err();
                assert_offline(&error);
                assert!(error.problem.contains(&status.to_string()), "{error}");
                assert!(error.place.contains("/deep/input.txt"), "{error}");
                assert!(kept(home.path()).is_empty());

                fs::create_dir_all(home.path().join("downloads")).unwrap();
                fs::write(part(home.path()), &body()[..1000]).unwrap();
                assert_offline(&fetched(&recipe, home.path()).unwrap_err());
                assert_whole(&fetched(&recipe, home.path()).unwrap(), home.path());
                assert_eq!(server.ranges()[2].as_deref(), Some("bytes=1000-"));
            }
        },
    );
}

/// A mirror with these files, and what fetching from it alone gives: the server has no answers.
fn from_mirror(files: &[(&str, &[u8])], home: &Path) -> Result<PathBuf> {
    let mirror = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = mirror.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let mut permissions = path.metadata().unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
    }
    let server = Server::start(Vec::new());
    let recipe = recipe(&server, &body());
    one(fetch_from(
        &recipe,
        home,
        Some(mirror.path()),
        &mut |_, _| {},
    ))
}

#[test]
fn a_mirror_has_the_file_by_either_name_in_it_or_in_a_folder_of_it() {
    directly(
        "a_mirror_has_the_file_by_either_name_in_it_or_in_a_folder_of_it",
        || {
            let (whole, other) = (&body()[..], &b"not the plays"[..]);
            let mirrors: [&[(&str, &[u8])]; 6] = [
                &[("plays.txt", whole)],
                &[("text/plays.txt", whole)],
                &[("input.txt", whole)],
                &[("text/input.txt", whole)],
                // Other files with these names do not hide it.
                &[("a/input.txt", other), ("b/input.txt", whole)],
                &[("plays.txt", other), ("text/plays.txt", whole)],
            ];
            for files in mirrors {
                let home = tempfile::tempdir().unwrap();
                // A leftover of an earlier try, longer than the file.
                fs::create_dir_all(home.path().join("downloads")).unwrap();
                fs::write(part(home.path()), vec![7; 400_000]).unwrap();
                let path = from_mirror(files, home.path()).unwrap();
                assert_whole(&path, home.path());
                assert!(!path.metadata().unwrap().permissions().readonly());
            }
        },
    );
}

#[test]
fn a_mirror_without_the_right_file_is_named() {
    directly("a_mirror_without_the_right_file_is_named", || {
        let home = tempfile::tempdir().unwrap();
        let error = from_mirror(&[("text/plays.txt", b"other")], home.path()).unwrap_err();
        assert!(error.problem.contains(&sha256(b"other")), "{error}");
        assert!(
            error.place.ends_with("plays.txt") && error.remedy.contains("mirror"),
            "{error}"
        );
        // Somebody else's input.txt says nothing about the plays: the network is asked.
        for files in [&[("text/input.txt", &b"other"[..])][..], &[]] {
            let error = from_mirror(files, home.path()).unwrap_err();
            assert_offline(&error);
            assert!(
                error.remedy.contains("neither it nor a folder in it"),
                "{error}"
            );
        }
        assert!(kept(home.path()).is_empty());
    });
}

#[test]
fn a_download_without_a_published_digest_begins_anew_and_is_pinned() {
    directly(
        "a_download_without_a_published_digest_begins_anew_and_is_pinned",
        || {
            let home = tempfile::tempdir().unwrap();
            let whole = Answer::file(&body());
            let answers = vec![
                whole.clone().cut_after(100_000),
                whole.clone().without_length(),
                whole,
            ];
            let server = Server::start(answers);
            let mut recipe = recipe(&server, &body());
            (recipe.files[0].sha256, recipe.files[0].bytes) = (None, None);
            let cut = fetched(&recipe, home.path()).unwrap_err();
            assert!(cut.problem.contains("100000 of 300000"), "{cut}");
            let endless = fetched(&recipe, home.path()).unwrap_err();
            assert!(endless.problem.contains("how long"), "{endless}");
            let path = fetched(&recipe, home.path()).unwrap();
            assert!(fs::read(&path).unwrap() == body());
            // Halves of two different files would pass for one: nothing was gone on from.
            assert_eq!(server.ranges(), [None, None, None]);
            let mut files = kept(home.path());
            files.sort();
            assert_eq!(files, ["plays.txt", "plays.txt.pin"]);
            fs::write(&path, b"changed").unwrap();
            let error = fetched(&recipe, home.path()).unwrap_err();
            assert!(error.problem.contains(&sha256(&body())), "{error}");
        },
    );
}

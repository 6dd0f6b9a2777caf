//! Parquet files, written here by the `parquet` crate in several ways.

use crate::{Bench, documents, jsonl, on_disk, parts, to_add};
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use std::{fs::File, path::Path, sync::Arc};
use windtunnel::{
    data::{
        Corpus, Tokenizer,
        ingest::{Progress, Settings, silent},
    },
    error::{Error, Result},
};

/// Rows of a number and a text (or null), in row groups.
fn write(path: &Path, groups: &[&[Option<&str>]], compression: Compression) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = "message rows { required int64 id; optional binary text (UTF8); optional binary other (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_data_page_row_count_limit(16)
        .set_write_batch_size(8)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();
        let ids: Vec<i64> = (0..rows.len() as i64).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&ids, None, None)
            .unwrap();
        column.close().unwrap();
        for _ in 0..2 {
            let texts: Vec<ByteArray> = rows
                .iter()
                .flatten()
                .map(|text| ByteArray::from(*text))
                .collect();
            let levels: Vec<i16> = rows.iter().map(|text| i16::from(text.is_some())).collect();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&texts, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn a_column_gives_the_same_corpus_as_json_lines_with_its_rows() {
    let bench = Bench::new();
    let mut all = documents(700);
    all.insert(300, String::new());
    bench.write("a.jsonl", jsonl(&all));
    bench.add("a.jsonl", "rows").unwrap();
    let expected = bench.parts("rows");
    let texts: Vec<Option<&str>> = all.iter().map(|text| Some(text.as_str())).collect();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    for (i, compression) in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd]
        .into_iter()
        .enumerate()
    {
        write(
            &bench.path(&format!("{i}/1.parquet")),
            &[&texts[..3], &texts[3..400], &[]],
            compression,
        );
        write(
            &bench.path(&format!("{i}/2.parquet")),
            &[&texts[400..]],
            compression,
        );
        let name = format!("p{i}");
        let addition = bench
            .addition(&name, &to_add(bench.path(&i.to_string())))
            .unwrap();
        assert_eq!(addition.scan.unwrap().empty_rows, 1);
        bench.library.add(&name, &addition.added).unwrap();
        assert!(bench.parts(&name) == expected, "{compression:?}");
        // Stopped at every chunk, and so resumed within row groups.
        let source = bench.source(&name).unwrap();
        let disk = bench.path("disk");
        let mut stops = 0;
        let corpus = loop {
            let mut first = true;
            let mut watch = |progress: &Progress| -> Result<()> {
                match progress.doing == "tokenise" && !std::mem::take(&mut first) {
                    true => Err(Error::failed("the test", "stop", "go on")),
                    false => Ok(()),
                }
            };
            let settings = Settings {
                save_bytes: 1,
                ..on_disk()
            };
            match Corpus::open_with(&disk, &source, &Tokenizer::Byte, &settings, &mut watch) {
                Ok(corpus) => break corpus,
                Err(error) => assert_eq!(error.problem, "stop", "{error}"),
            }
            stops += 1;
        };
        assert!(stops > 5);
        assert!(parts(&corpus) == expected, "{compression:?}");
    }
}

#[test]
fn a_null_a_wrong_column_and_a_cut_off_file_are_named() {
    let bench = Bench::new();
    let all = documents(100);
    let mut texts: Vec<Option<&str>> = all.iter().map(|text| Some(text.as_str())).collect();
    write(&bench.path("a.parquet"), &[&texts], Compression::SNAPPY);
    let mut wanted = to_add(bench.path("a.parquet"));
    for (field, problem, remedy) in [
        ("content", "no column \"content\"", "id, text, other"),
        ("id", "does not hold one text a row", "--field"),
    ] {
        wanted.field = Some(field.into());
        let error = bench.addition("a", &wanted).unwrap_err();
        assert!(error.place.ends_with("a.parquet"), "{error}");
        assert!(
            error.problem.contains(problem) && error.remedy.contains(remedy),
            "{error}"
        );
    }
    wanted.field = Some("other".into());
    bench.addition("a", &wanted).unwrap();
    let bytes = std::fs::read(bench.path("a.parquet")).unwrap();
    bench.write("cut.parquet", &bytes[..bytes.len() / 2]);
    let error = bench.add("cut.parquet", "cut").unwrap_err();
    assert!(
        error.place.ends_with("cut.parquet") && error.problem.contains("Parquet"),
        "{error}"
    );
    texts[41] = None;
    write(
        &bench.path("null.parquet"),
        &[&texts[..20], &texts[20..]],
        Compression::SNAPPY,
    );
    let error = bench.add("null.parquet", "null").unwrap_err();
    assert!(error.place.ends_with("null.parquet: row 42"), "{error}");
    assert!(error.problem.contains("null"), "{error}");
    assert!(!bench.home().exists());
    let source = to_add(bench.path("a.parquet"));
    let added = bench
        .library
        .addition("ok", &source, &mut silent)
        .unwrap()
        .added;
    assert_eq!(added.field, "text");
}

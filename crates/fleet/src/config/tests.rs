#![allow(clippy::unwrap_used)]
use super::*;

const TOP: &str = r#"source = "s3://eodata"
index = ["idx/{tile}.parquet"]
store = "s3://stores/{level}/{tile}"
"#;

fn read(text: &str) -> Result<RunConfig, String> {
    let occasion = Occasion { run: "run-1".to_owned(), ..Occasion::default() };
    File::new(Path::new("s2ice.toml"), text).config(&occasion).map_err(|wrong| wrong.join("\n"))
}

#[test]
fn tiles_share_the_defaults() {
    let config = read(&format!("tiles = [\"33TVN\", \"T33TWN\"]\n{TOP}")).unwrap();
    let stores: Vec<&str> = config.tiles.iter().map(|t| t.store.as_str()).collect();
    assert_eq!(stores, ["s3://stores/L2A/33TVN", "s3://stores/L2A/33TWN"]);
    assert_eq!(config.tiles[1].settings.index, ["idx/33TWN.parquet"]);
    assert_eq!(config.tiles[0].settings.occasion.run, "run-1");
    assert_eq!((config.run.jobs.get(), config.run.full_every.get()), (2, 7));
    assert_eq!(config.run.tile_timeout, None);
}

#[test]
fn a_tile_has_the_last_word() {
    let config = read(&format!(
        "tiles = [\"33TVN\"]\nmax-cloud-cover = 50.0\n{TOP}[source-options]\nendpoint = \"https://e\"\nconnections = 4\n\
         [run]\njobs = 3\nfull-every = 1\ntile-timeout = \"1h30m\"\nreport = \"r.jsonl\"\n\
         [[tile]]\ntile = \"33TVN\"\nlevel = \"L1C\"\nmax-cloud-cover = 20.0\nsource-options = {{ connections = 1 }}\n"
    ))
    .unwrap();
    let (first, second) = (&config.tiles[0].settings, &config.tiles[1].settings);
    assert_eq!((first.max_cloud_cover, second.max_cloud_cover), (Some(50.0), Some(20.0)));
    assert_eq!((first.source_options.connections, second.source_options.connections), (Some(4), Some(1)));
    assert_eq!(second.source_options.endpoint.as_deref(), Some("https://e"));
    assert_eq!(config.tiles[1].store, "s3://stores/L1C/33TVN");
    assert_eq!(config.tiles[1].line, 14);
    assert_eq!((config.run.jobs.get(), config.run.full_every.get()), (3, 1));
    assert_eq!(config.run.tile_timeout.unwrap().0.as_secs(), 5_400);
    assert_eq!(config.run.report.as_deref(), Some(Path::new("r.jsonl")));
}

#[test]
fn a_bad_file_is_told_by_line_and_key() {
    let cases = [
        (format!("{TOP}tiles = [\"33TVN\"]\nsouce = 1\n"), "line 5: unknown field `souce`"),
        (format!("{TOP}[run]\njobs = 0\n"), "line 5: `jobs`: invalid value: integer `0`"),
        (format!("{TOP}[run]\njob = 1\n"), "line 5: unknown field `job`"),
        (format!("{TOP}[run]\ntile-timeout = \"soon\"\n"), "line 5: `tile-timeout`: \"soon\" is no length of time"),
        (format!("{TOP}tiles = [\"33TVN\",\n \"nowhere\"]\n"), "line 5: `tile`: \"nowhere\" is not an MGRS tile"),
        (format!("{TOP}tiles = \"33TVN\"\n"), "line 4: `tiles` is a list of names"),
        (format!("{TOP}tiles = [3]\n"), "line 4: `tiles` is a list of names"),
        (format!("{TOP}tile = \"33TVN\"\n"), "line 4: `tile` is a list of tables"),
        (format!("{TOP}[[tile]]\nlevel = \"L2A\"\n"), "line 4: a tile has no `tile`"),
        (format!("{TOP}[[tile]]\ntile = \"33TVN\"\nlevel = \"L3\"\n"), "line 6: `level`: \"L3\" is not"),
        (format!("{TOP}[[tile]]\ntile = \"33TVN\"\nstor = \"x\"\n"), "line 6: unknown field `stor`"),
        (format!("{TOP}[[tile]]\ntile = \"33TVN\"\nmax-cloud-cover = 101.0\n"), "line 6: `max-cloud-cover`: it is a"),
        (format!("{TOP}[[tile]]\ntile = \"33TVN\"\nstore = \"s3://\"\n"), "line 6: `store`: \"s3://\" is no address"),
        (format!("{TOP}[[tile]]\ntile = \"33TVN\"\nstac = \"{{til}}\"\n"), "line 6: `stac`: {til} is no placeholder"),
        (format!("{TOP}[[tile]]\ntile = \"33TVN\"\nspec = \"two\"\n"), "line 6: `spec`: invalid type"),
        ("tiles = [\"33TVN\"]\nindex = [\"i\"]\nstore = \"x\"\n".to_owned(), "line 1: 33TVN has no `source`"),
        ("tiles = [\"33TVN\"]\nsource = \"s\"\nstore = \"x\"\n".to_owned(), "line 1: 33TVN has no `index`"),
        ("tiles = [\"33TVN\"]\nsource = \"s\"\nindex = [\"i\"]\n".to_owned(), "line 1: 33TVN has no `store`"),
        (TOP.to_owned(), "names no tile"),
        (format!("{TOP}tiles = [\n"), "line 4"),
    ];
    for (text, expected) in cases {
        let sentence = read(&text).unwrap_err();
        assert!(sentence.starts_with("configuration file s2ice.toml"), "{sentence}");
        assert!(sentence.contains(expected), "{text}\n{sentence}\n{expected}");
    }
}

#[test]
fn a_tile_is_named_once() {
    let sentence = read(&format!("{TOP}tiles = [\"33TVN\"]\n[[tile]]\ntile = \"33tvn\"\nstore = \"x\"\n")).unwrap_err();
    assert!(sentence.ends_with("line 5: 33TVN L2A is already on line 4"), "{sentence}");
    read(&format!("{TOP}tiles = [\"33TVN\"]\n[[tile]]\ntile = \"33TVN\"\nlevel = \"L1C\"\n")).unwrap();
}

#[test]
fn a_place_is_given_once() {
    let with = |first: &str, second: &str| {
        read(&format!(
            "{TOP}[[tile]]\ntile = \"33TVN\"\nstore = \"{first}\"\n[[tile]]\ntile = \"33TWN\"\nstore = \"{second}\"\n"
        ))
    };
    let sentence = with("s3://b/a", "s3a://b/a/").unwrap_err();
    assert!(
        sentence.contains("line 7: the store of 33TWN L2A, s3a://b/a/, is also that of 33TVN L2A (line 4)"),
        "{sentence}"
    );
    let sentence = with("s3://b/a/c", "s3://b/a").unwrap_err();
    assert!(sentence.contains("line 4: the store of 33TVN L2A, s3://b/a/c, lies in that of 33TWN L2A"), "{sentence}");
    with("s3://b/a", "s3://b/ab").unwrap();
}

#[test]
fn one_bucket_name_at_two_services_is_two_places() {
    read(&format!(
        "{TOP}[[tile]]\ntile = \"33TVN\"\nstore = \"s3://b\"\nstore-options = {{ endpoint = \"https://a\" }}\n\
         [[tile]]\ntile = \"33TWN\"\nstore = \"s3://b\"\nstore-options = {{ endpoint = \"https://b\" }}\n"
    ))
    .unwrap();
}

#[test]
fn the_schema_has_all_keys() {
    let schema = schema();
    for key in ["tile", "tiles", "run", "index", "store", "source-options"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["properties"]["run"]["additionalProperties"], json!(false));
    assert_eq!(schema["$defs"]["Tile"]["properties"]["tile"]["description"], "MGRS tile, such as 29UNU.");
}

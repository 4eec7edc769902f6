#![allow(clippy::unwrap_used)]
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};

use super::*;

fn document(path: &str, text: &str) -> Document {
    Document { path: path.to_owned(), bytes: Bytes::from(text.to_owned()) }
}

async fn write(place: &Place, documents: Vec<Document>, gone: &[&str]) -> Result<Written> {
    let before = Ledger::read(place, "ledger.json").await?;
    let gone = gone.iter().map(|path| (*path).to_owned()).collect();
    before.clone().write(place, documents, gone, &before).await.map(|(_, written)| written)
}

#[tokio::test]
async fn only_what_changed_and_is_its_own_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().to_str().unwrap()).unwrap();
    let place = Place::open(&url, &SourceOptions::default()).unwrap();
    let text = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();

    let both = || vec![document("a/x.json", "1"), document("y.json", "2")];
    assert_eq!(write(&place, both(), &[]).await.unwrap(), Written { files: 2, bytes: 2, removed: 0 });
    assert_eq!(write(&place, both(), &[]).await.unwrap(), Written::default());
    let changed = vec![document("a/x.json", "10"), document("y.json", "2")];
    assert_eq!(write(&place, changed, &[]).await.unwrap(), Written { files: 1, bytes: 2, removed: 0 });
    assert_eq!(write(&place, Vec::new(), &["y.json", "z.json"]).await.unwrap().removed, 1);
    assert!(!folder.path().join("y.json").exists());

    // A file of others is in the way: it stays, and what is there is told again as soon as it is gone.
    std::fs::write(folder.path().join("z.json"), "mine").unwrap();
    for _ in 0..2 {
        assert!(write(&place, vec![document("z.json", "3")], &[]).await.is_err());
        assert_eq!(text("z.json"), "mine");
    }
    assert_eq!(text("a/x.json"), "10");
    // A link to nothing is somebody's as well.
    #[cfg(unix)]
    std::os::unix::fs::symlink("nothing", folder.path().join("w.json")).unwrap();
    #[cfg(unix)]
    for _ in 0..2 {
        assert!(write(&place, vec![document("w.json", "3")], &[]).await.is_err());
        assert!(folder.path().join("w.json").is_symlink());
    }
    // Nor is what came between the look and the write claimed.
    let twice = vec![document("v.json", "mine"), document("v.json", "3")];
    assert!(write(&place, twice, &[]).await.is_err());
    assert_eq!(text("v.json"), "mine");
    assert!(Ledger::read(&place, "ledger.json").await.unwrap().unfinished.is_empty());
}

#[tokio::test]
async fn no_ledger_leads_to_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().to_str().unwrap()).unwrap();
    let place = Place::open(&url, &SourceOptions::default()).unwrap();
    write(&place, vec![document("x.json", "1")], &[]).await.unwrap();
    let mut tampered = Ledger::read(&place, "ledger.json").await.unwrap();
    for path in ["33TVN-L2A/store/repo", "x.json"] {
        tampered.files.insert(path.to_owned(), String::new());
        std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(path), "1").unwrap();
    }
    tampered.put(&place).await.unwrap();
    assert_eq!(write(&place, Vec::new(), &["33TVN-L2A/store/repo", "x.json"]).await.unwrap().removed, 1);
    assert!(folder.path().join("33TVN-L2A/store/repo").exists());
}

#[tokio::test]
async fn no_ledger_leads_out_of_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().to_str().unwrap()).unwrap();
    let place = Place::open(&url, &SourceOptions::default()).unwrap();
    for (path, zone) in
        [("../x", "33"), ("/33TVN-L2A/store/repo", "33"), ("33TVN-L2A//store/repo", "33"), ("x", "../.")]
    {
        write(&place, vec![document("y.json", "1")], &[]).await.unwrap();
        let mut tampered = Ledger::read(&place, "ledger.json").await.unwrap();
        tampered.unfinished.insert(path.to_owned());
        tampered.zones.insert(zone.to_owned());
        tampered.put(&place).await.unwrap();
        let told = Ledger::read(&place, "ledger.json").await.unwrap_err().to_string();
        assert!(told.contains("ledger.json is not what s2ice publishes"), "{told}");
        std::fs::remove_file(folder.path().join("ledger.json")).unwrap();
        std::fs::remove_file(folder.path().join("y.json")).unwrap();
    }
}

#[tokio::test]
async fn what_was_being_written_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().to_str().unwrap()).unwrap();
    let place = Place::open(&url, &SourceOptions::default()).unwrap();
    write(&place, vec![document("x.json", "1")], &[]).await.unwrap();
    let mut killed = Ledger::read(&place, "ledger.json").await.unwrap();
    killed.unfinished.extend(["x.json".to_owned(), "y.json".to_owned()]);
    killed.put(&place).await.unwrap();
    std::fs::write(folder.path().join("y.json"), "half").unwrap();
    let documents = vec![document("x.json", "1"), document("y.json", "2")];
    assert_eq!(write(&place, documents, &[]).await.unwrap().files, 2);
    assert_eq!(std::fs::read_to_string(folder.path().join("y.json")).unwrap(), "2");
    assert!(Ledger::read(&place, "ledger.json").await.unwrap().unfinished.is_empty());
}

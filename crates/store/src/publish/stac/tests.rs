#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::testing::{empty, row, settings, subject};
use super::{catalog, collection, of_zone, states};
use crate::publish::{Reached, State, Subject};

#[test]
fn a_collection_is_as_reviewed() {
    insta::assert_json_snapshot!("collection", collection(&subject(), &settings(), &[]));
}

#[test]
fn states_lead_to_each_other() {
    let (subject, settings) = (subject(), settings());
    let states = states(&subject, &settings);
    let paths: Vec<&str> = states.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["33TVN-L2A/states/20240601T000000000Z.json", "33TVN-L2A/states/20250601T000000000Z.json"]);
    insta::assert_json_snapshot!("state", states[0].1);
    let at = |path: &str| Value::from(format!("{}{path}", settings.base_url));
    let to = |document: &Value, rel: &str| {
        let links = document["links"].as_array().unwrap();
        links.iter().find(|link| link["rel"] == rel).map(|link| link["href"].clone())
    };
    let latest = collection(&subject, &settings, &[]);
    assert_eq!(to(&states[0].1, "successor-version"), Some(at(paths[1])));
    assert_eq!(to(&states[1].1, "predecessor-version"), Some(at(paths[0])));
    assert_eq!(to(&states[1].1, "successor-version"), None);
    assert_eq!(to(&states[1].1, "latest-version"), Some(at("33TVN-L2A/collection.json")));
    assert_eq!(to(&latest, "memento"), Some(at(paths[1])));
    assert_eq!(to(&latest, "predecessor-version"), Some(at(paths[0])));
    assert_eq!(states[1].1.get("deprecated"), None);
}

#[test]
fn a_state_that_was_rolled_back_gives_way_to_the_present_one() {
    let (mut subject, settings) = (subject(), settings());
    let state = |time: &str, stands: bool| State {
        tag: format!("published/{time}"),
        time: crate::housekeeping::published_at(&format!("published/{time}")).unwrap(),
        stands,
        ..subject.states[0].clone()
    };
    let [old, back, now] = ["20240601T000000000Z", "20250601T000000000Z", "20260601T000000000Z"];
    let told = |subject: &Subject| -> Vec<(bool, Option<String>, Option<String>)> {
        let told = states(subject, &settings).into_iter().map(|(_, document)| {
            let to = |rel: &str| {
                let link = document["links"].as_array().unwrap().iter().find(|link| link["rel"] == rel)?;
                Some(link["href"].as_str()?.rsplit_once('/')?.1.trim_end_matches(".json").to_owned())
            };
            (document["deprecated"] == true, to("predecessor-version"), to("successor-version"))
        });
        told.collect()
    };
    let to = |time: &str| Some(time.to_owned());
    let (all, standing) = (state(now, true), [state(old, true), state(back, false)]);
    // The store went back to the first one, and on from there.
    subject.states = standing.to_vec();
    subject.info.published = Some(standing[0].tag.clone());
    assert_eq!(told(&subject), [(false, None, None), (true, to(old), to(old))]);
    subject.states.push(all.clone());
    subject.info.published = Some(all.tag.clone());
    assert_eq!(told(&subject), [(true, None, to(now)), (true, to(old), to(now)), (false, to(old), None)]);
    let latest = collection(&subject, &settings, &[]).to_string();
    assert!(!latest.contains(&format!("states/{back}")), "{latest}");
}

#[test]
fn an_empty_store_has_a_collection() {
    let collection = collection(&empty(), &settings(), &[]);
    assert_eq!(collection["extent"]["temporal"]["interval"], serde_json::json!([[null, null]]));
    assert_eq!(collection["summaries"].get("platform"), None);
    assert_eq!(collection["assets"]["products"]["cube:dimensions"]["time"]["extent"], serde_json::json!([null, null]));
}

#[test]
fn nothing_of_the_publishers_machine_is_told() {
    let mut subject = subject();
    let local = Reached::of_the_web("file:///home/somebody/archive/".to_owned());
    subject.sources.insert("local".to_owned(), local.clone());
    let text = collection(&subject, &settings(), &[]).to_string();
    assert!(text.contains("source-eodata") && !text.contains("somebody"), "{text}");
    subject.sources = [("local".to_owned(), local)].into();
    let document = collection(&subject, &settings(), &[]);
    assert!(document["description"].as_str().unwrap().contains("give `source=`"));
    assert!(document["assets"]["icechunk"].get("vrt:hrefs").is_none());
    assert!(!document.to_string().contains("somebody"));
}

#[test]
fn pages_are_linked_where_they_are() {
    let beside = ["33TVN-L2A/index.html".to_owned(), "33TVN-L2A/preview.jpg".to_owned()];
    let document = collection(&subject(), &settings(), &beside);
    let links = document["links"].as_array().unwrap();
    let href = |rel: &str| links.iter().find(|link| link["rel"] == rel).map(|link| link["href"].clone());
    assert_eq!(href("about").unwrap(), "https://tiles.example.org/33TVN-L2A/index.html");
    assert_eq!(href("preview").unwrap(), "https://tiles.example.org/33TVN-L2A/preview.jpg");
    assert_eq!(document["assets"]["thumbnail"]["href"], href("preview").unwrap());
    assert_eq!(document["assets"]["thumbnail"]["roles"][0], "thumbnail");
    let without = collection(&subject(), &settings(), &beside[..1]);
    assert!(!without.to_string().contains("preview"));
}

#[test]
fn catalogs_lead_to_zones_and_stores() {
    let (rows, settings) = ([row("01WCP"), row("33TVN"), row("33TVP")], settings());
    insta::assert_json_snapshot!("catalog", catalog(&rows, &settings));
    insta::assert_json_snapshot!("zone", of_zone("33", &rows[1..], &settings));
}

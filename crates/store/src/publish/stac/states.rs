//! The published states of a store: a collection each, so that what was cited can be opened again.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::collection::{Frame, interval};
use super::{JSON, link, link_to};
use crate::publish::settings::Publishing;
use crate::publish::state::State;
use crate::publish::subject::Subject;

/// The collections of all states, by their paths.
pub(crate) fn states(subject: &Subject, settings: &Publishing) -> Vec<(String, Value)> {
    let of = |state: &State| (state.path(&subject.id), collection(subject, settings, state));
    subject.states.iter().map(of).collect()
}

fn collection(subject: &Subject, settings: &Publishing, state: &State) -> Value {
    let Subject { id, tile, level, .. } = subject;
    let published = state.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let title = format!("Sentinel-2 {level}, tile {tile}, as published at {published}");
    let times = state.told.and_then(|told| told.times_ms);
    let products = match state.told.map(|told| told.products) {
        None => String::new(),
        Some(1) => " It holds 1 product.".to_owned(),
        Some(products) => format!(" It holds {products} products."),
    };
    let description = format!(
        "A state of the store {id} that stays as it is for as long as its publisher keeps the tag `{tag}`.{products}{back} \
         `s2ice.open(\"{url}\", tag=\"{tag}\")` opens it.",
        tag = state.tag,
        back = if state.stands { "" } else { " Its publisher went back to a state before it." },
        url = subject.store.url,
    );
    let frame = Frame::new(subject, settings, &state.path(id));
    let mut links = frame.links(&title);
    let present = format!("{}{id}/collection.json", settings.base_url);
    links.push(link("latest-version", &present, JSON, "The present state"));
    let after = subject.after(state);
    links.extend(subject.before(state).map(|state| link_to("predecessor-version", state, subject, settings)));
    links.extend(after.map(|state| link_to("successor-version", state, subject, settings)));
    let mut root = frame.icechunk(json!({ "engine": "s2ice", "tag": state.tag }));
    root.insert("icechunk:tag".into(), state.tag.as_str().into());
    root.insert("icechunk:snapshot".into(), state.snapshot.to_string().into());
    root.insert("version".into(), state.version().into());
    let mut assets = serde_json::Map::from_iter([("icechunk".to_owned(), root.into())]);
    assets.extend(frame.source_assets());
    let mut document = frame.document(&format!("{id}-{}", state.version()), &title, &description, interval(times));
    document.insert("icechunk:tag".into(), state.tag.as_str().into());
    document.insert("version".into(), state.version().into());
    if after.is_some() || !state.stands {
        document.insert("deprecated".into(), true.into());
    }
    frame.finish(document, links, assets)
}

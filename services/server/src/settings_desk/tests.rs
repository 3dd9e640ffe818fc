use actix::Actor as _;
use serde_json::json;
use ulex_actors::{Outlet, SettingsFollower};
use ulex_domain::TenantId;
use ulex_nats::InProcess;

use super::*;

const FILE: &str = "[recommend]\ncache_size = 7\n[recommend.ranker.reranker_api]\nauth_token = 'hush'";

/// A desk and the process behind it.
async fn desk(bus: &Bus) -> SettingsDesk {
    let base = Arc::new(ulex_settings::from_toml(FILE).unwrap().settings);
    let in_force = Arc::new(watch::Sender::new(InForce::read(bus, &base).await.unwrap()));
    let receiver = in_force.subscribe();
    SettingsFollower::new(bus.clone(), Arc::clone(&base), in_force, Outlet::closed()).start();
    SettingsDesk::open(bus, base, receiver, PathBuf::from("/data")).await.unwrap()
}

fn bus() -> Bus {
    Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default())
}

fn patch(key: &str, value: Value) -> SettingsChange {
    SettingsChange::Patch(ulex_settings::Overrides::from([(key.to_owned(), value)]))
}

fn cache_size(desk: &SettingsDesk) -> Value {
    desk.shown()["recommend"]["cache_size"].clone()
}

#[actix::test]
async fn a_change_is_in_force_when_the_call_returns_and_can_be_taken_back() {
    let bus = bus();
    let desk = desk(&bus).await;
    desk.change(patch("recommend.cache_size", json!(9))).await.unwrap();
    assert_eq!(cache_size(&desk), json!(9));
    desk.change(patch("recommend.context_size", json!(3))).await.unwrap();
    assert_eq!(cache_size(&desk), json!(9), "a patch leaves the others alone");
    desk.change(patch("recommend.cache_size", Value::Null)).await.unwrap();
    assert_eq!(cache_size(&desk), json!(7), "the file's");
    desk.change(SettingsChange::Clear).await.unwrap();
    assert_eq!(desk.shown()["recommend"]["context_size"], json!(100));
    assert_eq!(desk.history().await.unwrap().len(), 4);
}

#[actix::test]
async fn a_whole_section_replaces_the_one_before_and_an_old_one_comes_back() {
    let bus = bus();
    let (one, other) = (desk(&bus).await, desk(&bus).await);
    let mut section = one.shown()["recommend"].clone();
    section["cache_size"] = json!(11);
    one.change(SettingsChange::Replace(section)).await.unwrap();
    let first = one.history().await.unwrap()[0].revision;
    other.change(patch("recommend.cache_size", json!(12))).await.unwrap();
    other.change(SettingsChange::Restore(first)).await.unwrap();
    assert_eq!(cache_size(&other), json!(11));
    let history = other.history().await.unwrap();
    assert_eq!(history[0].restored, Some(first));
    assert_eq!(history[0].values, history[2].values);
    let token = &history[0].values["recommend.ranker.reranker_api.auth_token"];
    assert_ne!(*token, json!("hush"), "a secret is not shown");
    let missing = other.change(SettingsChange::Restore(99)).await;
    assert!(matches!(&missing, Err(BackendError::NotFound(text)) if text.contains("99")), "{missing:?}");
}

#[actix::test]
async fn what_is_wrong_is_refused_with_its_name_and_changes_nothing() {
    let bus = bus();
    let desk = desk(&bus).await;
    for (change, word) in [
        (patch("recommend.cache_size", json!(0)), "recommend.cache_size"),
        (patch("master.n_jobs", json!(2)), "master.n_jobs"),
        (SettingsChange::Replace(json!({"cache_size": 5})), "recommend.context_size"),
        (SettingsChange::Replace(json!("all")), "recommend"),
    ] {
        let refused = desk.change(change.clone()).await;
        assert!(
            matches!(&refused, Err(BackendError::Unfit(text)) if text.contains(word)),
            "{change:?}: {refused:?}"
        );
    }
    assert_eq!((cache_size(&desk), desk.history().await.unwrap().len()), (json!(7), 0));
}

//! Which repositories and organizations are read.

use headwater_testkit::simulator::{Fault, FaultKind, When};
use serde_json::json;

use crate::support::{Site, chain, corpus_values};

#[tokio::test]
async fn all_repositories_of_an_owner_are_read_each_with_its_place() {
    let site = Site::start();
    for repo in ["*", ""] {
        let first = site.update("issues", &[("repo", repo), ("max_records_per_batch", "20")], None).await;
        assert_eq!(first.values("id"), corpus_values(&site.control(), "issues", "id", ("url", "")), "{repo}");
        assert_eq!(first.values("repo").into_iter().collect::<Vec<_>>(), ["kit", "lab"], "{repo}");
        let second = site.update("issues", &[("repo", repo)], first.end.as_ref()).await;
        assert_eq!(second.rows().count(), 0, "{repo}");
    }
    let tags = site.update("tags", &[("repo", "lab,kit")], None).await;
    assert_eq!(tags.rows().count(), 51);
    assert_eq!(tags.values("repo").len(), 2);
}

#[tokio::test]
async fn a_change_in_one_of_many_repositories_is_found() {
    let site = Site::start();
    let all = [("repo", "*")];
    let first = site.update("issues", &all, None).await;
    let change = json!({"updated_at": "2025-05-01T00:00:00Z"});
    site.control().update("issues", "number", &json!(301), &change).unwrap();
    let second = site.update("issues", &all, first.end.as_ref()).await;
    assert!(second.values("number").contains("301"));
    // Beside it the one that changed last is read again.
    assert!(second.values("number").len() <= 2, "{:?}", second.values("number"));
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_of_many_and_an_error_where_it_is_named() {
    let site = Site::start();
    for (status, said) in [(404, "does not exist"), (410, "has this switched off"), (451, "is blocked")] {
        let fault =
            || Fault::new(FaultKind::Status(status), When::Nth(1)).on("/repos/{owner}/{repo}/milestones");
        site.control().set_faults(vec![fault()]);
        let update = site.update("milestones", &[("repo", "*")], None).await;
        assert!(update.rows().count() > 0, "{status}");
        site.control().set_faults(vec![fault()]);
        let error = site.try_update("milestones", &[], None).await.err().unwrap();
        assert!(chain(&error).contains(&format!("repository `oxbow-x/kit` {said}")), "{}", chain(&error));
    }
    let error = site.try_update("repositories", &[("repo", "nothing-here")], None).await.err().unwrap();
    assert!(chain(&error).contains("repository `oxbow-x/nothing-here` does not exist"), "{}", chain(&error));
}

#[tokio::test]
async fn an_owner_who_is_no_organization_is_a_user() {
    let site = Site::start();
    let fault = Fault::new(FaultKind::Status(404), When::Always).on("/orgs/{org}/repos");
    site.control().set_faults(vec![fault]);
    // `/user` is not in the description: a token that is nobody's cannot be asked for.
    let error = site.try_update("repositories", &[("repo", "*")], None).await.err().unwrap();
    assert!(chain(&error).contains("/user "), "{}", chain(&error));
    let replaced = [(
        "  - path: /user/orgs\n",
        "  - path: /user\n    corpus: users\n    response: {single_entity: true}\n  - path: /user/orgs\n",
    )];
    let site = Site::with(headwater_testkit::simulator::Settings::default(), &replaced);
    site.control().set_faults(vec![Fault::new(FaultKind::Status(404), When::Always).on("/orgs/{org}/repos")]);
    let update = site.update("repositories", &[("repo", "*")], None).await;
    assert_eq!(update.rows().count(), 50);
    assert_eq!(site.seen("/users/oxbow-x/repos").len(), 1);
    let own = site.update("repositories", &[("repo", "*"), ("owner", "FX-01")], None).await;
    assert_eq!(own.rows().count(), 50);
    assert_eq!(site.seen("/user/repos").len(), 1);
}

#[tokio::test]
async fn organizations_are_named_or_those_of_the_credentials() {
    let site = Site::start();
    let one = site.update("organizations", &[], None).await;
    assert_eq!(one.values("login").into_iter().collect::<Vec<_>>(), ["oxbow-x"]);
    let named = site.update("organizations", &[("org", "oxbow-x-03,oxbow-x-04")], None).await;
    assert_eq!(named.rows().count(), 2);
    let own = site.update("organizations", &[("org", "*")], None).await;
    assert_eq!(own.rows().count(), 51);
    let teams = site.update("teams", &[], None).await;
    assert_eq!((teams.rows().count(), teams.values("org").len()), (50, 1));
    let users = site.update("users", &[], None).await;
    assert_eq!(users.values("id"), corpus_values(&site.control(), "users", "id", ("url", "")));

    let error = site.try_update("organizations", &[("org", "nobody-x")], None).await.err().unwrap();
    assert_eq!(
        error.to_string().split(';').next().unwrap(),
        "option `org` names `nobody-x`, which is no organization that these credentials show"
    );
    let error = site.try_update("organizations", &[("owner", "fx-01")], None).await.err().unwrap();
    assert!(error.to_string().starts_with("option `owner` names `fx-01`"), "{error}");
}

#[tokio::test]
async fn repositories_that_are_named_come_whole() {
    let site = Site::start();
    let one = site.update("repositories", &[], None).await;
    assert_eq!(one.values("full_name").into_iter().collect::<Vec<_>>(), ["oxbow-x/kit"]);
    let all = site.update("repositories", &[("repo", "*"), ("per_page", "10")], None).await;
    assert_eq!(all.values("id"), corpus_values(&site.control(), "repositories", "id", ("name", "")));
}

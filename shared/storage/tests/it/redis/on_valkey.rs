//! The promises on Valkey.

use super::{promises, server};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey: ULEX_TEST_VALKEY_URL"]
async fn it_conforms() {
    promises::it_conforms(&server("ULEX_TEST_VALKEY_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey: ULEX_TEST_VALKEY_URL"]
async fn prefixes_are_apart() {
    promises::prefixes_are_apart(&server("ULEX_TEST_VALKEY_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey: ULEX_TEST_VALKEY_URL"]
async fn every_key_expires_no_later_than_its_list() {
    promises::every_key_expires_no_later_than_its_list(&server("ULEX_TEST_VALKEY_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey: ULEX_TEST_VALKEY_URL"]
async fn what_is_no_list_of_ours_is_not_there() {
    promises::what_is_no_list_of_ours_is_not_there(&server("ULEX_TEST_VALKEY_URL")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Valkey: ULEX_TEST_VALKEY_URL"]
async fn thousands_of_users_are_dropped_in_one_call() {
    promises::thousands_of_users_are_dropped_in_one_call(&server("ULEX_TEST_VALKEY_URL")).await;
}

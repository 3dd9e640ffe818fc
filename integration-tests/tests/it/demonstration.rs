//! `ulex demo` tells its whole story and ends by itself.

use ulex_integration_tests::ulex;

#[test]
#[ignore = "slow: fits the shop, half a minute and more in the dev profile"]
fn the_demonstration_shows_lists_that_fit_and_ends() {
    let output = ulex(&["demo"]);
    let (story, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}{errors}");
    let hits: Vec<usize> = story
        .split(" of 8 from what they like")
        .filter_map(|before| before.rsplit(' ').next()?.trim().parse().ok())
        .collect();
    assert_eq!(hits.len(), 3, "{story}");
    assert!(hits.iter().all(|&hits| hits >= 6), "{story}");
    let new = story.split(" of 8 are new, 0 were bought already").next().unwrap();
    let new: usize = new.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(new >= 5, "{story}");
}

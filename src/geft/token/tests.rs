//! Who gets which token, and when a new one is asked for.

use std::cell::Cell;

use super::*;

const LIFE: Duration = Duration::from_mins(10);

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn token(tokens: &Tokens, life: Duration, asked: Instant) -> Arc<Token> {
    Arc::new(tokens.issue(&Grant { access_token: "token".into(), life }, asked).unwrap())
}

/// Takes a token for a cancel and says how many authorize calls that took.
async fn take(tokens: &Tokens, life: Duration) -> (Turn, u32) {
    let calls = Cell::new(0);
    let authorize = async || {
        calls.set(calls.get() + 1);
        Ok(token(tokens, life, Instant::now()))
    };
    let turn = tokens.for_cancel(soon(), authorize).await.unwrap();
    (turn, calls.get())
}

#[tokio::test]
async fn a_shared_token_is_asked_for_once() {
    let tokens = Tokens::new(TokenUse::Shared);
    let calls = Cell::new(0);
    let one = async || {
        tokens
            .for_cancel(soon(), async || {
                calls.set(calls.get() + 1);
                tokio::task::yield_now().await;
                Ok(token(&tokens, LIFE, Instant::now()))
            })
            .await
            .unwrap()
            .token
            .number
    };
    let numbers = futures_util::future::join_all((0..20).map(|_| one())).await;
    assert_eq!((calls.get(), numbers), (1, vec![1; 20]));
}

#[tokio::test]
async fn who_waited_for_a_refusal_does_not_ask_again() {
    let tokens = Tokens::new(TokenUse::Shared);
    let calls = Cell::new(0);
    let refused = NotBegun::CredentialsRefused { error: "no".into() };
    let one = async || {
        tokens
            .for_cancel(soon(), async || {
                calls.set(calls.get() + 1);
                tokio::task::yield_now().await;
                Err(refused.clone())
            })
            .await
            .unwrap_err()
    };
    let errors = futures_util::future::join_all((0..20).map(|_| one())).await;
    assert_eq!((calls.get(), errors), (1, vec![refused.clone(); 20]));
    assert_eq!(one().await, refused);
    assert_eq!(calls.get(), 2);
}

#[tokio::test]
async fn a_caller_who_ran_out_of_time_does_not_fail_the_others() {
    let tokens = Tokens::new(TokenUse::Shared);
    let late = tokens.for_cancel(soon(), async || {
        tokio::task::yield_now().await;
        Err(NotBegun::TooLate)
    });
    let (late, (_, calls)) = futures_util::future::join(late, take(&tokens, LIFE)).await;
    assert_eq!((late.unwrap_err(), calls), (NotBegun::TooLate, 1));
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end() {
    let tokens = Tokens::new(TokenUse::Shared);
    let asked = Instant::now();
    let long = token(&tokens, LIFE, asked);
    assert_eq!(long.renew_at - asked, LIFE.checked_sub(MARGIN).unwrap());
    let short = token(&tokens, Duration::from_secs(10), asked);
    assert_eq!(short.renew_at - asked, Duration::from_secs(8));
    assert_eq!(take(&tokens, Duration::ZERO).await.1, 1);
    assert_eq!(take(&tokens, LIFE).await.1, 1);
    assert_eq!(take(&tokens, LIFE).await.1, 0);
}

#[tokio::test]
async fn a_401_discards_only_the_token_that_it_was_sent_with() {
    let tokens = Tokens::new(TokenUse::Shared);
    let (first, _) = take(&tokens, LIFE).await;
    tokens.answered(&first.token, Some(401));
    let (second, calls) = take(&tokens, LIFE).await;
    assert_eq!(calls, 1);
    tokens.answered(&first.token, Some(401));
    let (third, calls) = take(&tokens, LIFE).await;
    assert_eq!((calls, third.token.number), (0, second.token.number));
}

#[tokio::test]
async fn a_403_keeps_the_token() {
    let tokens = Tokens::new(TokenUse::Shared);
    let (first, _) = take(&tokens, LIFE).await;
    tokens.answered(&first.token, Some(403));
    assert_eq!(take(&tokens, LIFE).await.1, 0);
}

#[tokio::test]
async fn a_token_is_fresh_until_an_answer_accepted_it() {
    let tokens = Tokens::new(TokenUse::Shared);
    let (turn, _) = take(&tokens, LIFE).await;
    let fresh: Vec<bool> = [None, Some(403), Some(500), Some(200), Some(401)]
        .into_iter()
        .map(|code| tokens.answered(&turn.token, code))
        .collect();
    assert_eq!(fresh, [true, true, true, false, false]);
}

#[tokio::test]
async fn single_use_asks_for_each_cancel_at_the_same_time() {
    let tokens = Tokens::new(TokenUse::Single);
    let (first, _) = take(&tokens, LIFE).await;
    let (second, calls) = take(&tokens, LIFE).await;
    assert_eq!(calls, 1);
    assert_ne!(first.token.number, second.token.number);
}

#[tokio::test]
async fn one_cancel_at_a_time_until_it_is_known_how_tokens_are_used() {
    let tokens = Tokens::new(TokenUse::Auto);
    let (first, _) = take(&tokens, LIFE).await;
    let in_vain = tokens.for_cancel(Instant::now() + Duration::from_millis(20), async || Err(NotBegun::TooLate));
    assert_eq!(in_vain.await.unwrap_err(), NotBegun::TooLate);
    tokens.answered(&first.token, Some(200));
    drop(first);
    let (second, calls) = take(&tokens, LIFE).await;
    assert_eq!(calls, 0);
    tokens.answered(&second.token, Some(400));
    // Shared now, so the one who still holds his turn keeps nobody waiting.
    let (_third, calls) = take(&tokens, LIFE).await;
    assert_eq!(calls, 0);
}

#[tokio::test]
async fn answers_of_a_gateway_do_not_show_that_a_token_can_be_shared() {
    let tokens = Tokens::new(TokenUse::Auto);
    for code in [500, 503, 429, 302] {
        let (turn, _) = take(&tokens, LIFE).await;
        tokens.answered(&turn.token, Some(code));
    }
    assert_eq!(tokens.usage(), Usage::Undecided);
}

#[tokio::test]
async fn tokens_that_serve_once_become_single_use_and_none_is_shared_any_more() {
    let tokens = Tokens::new(TokenUse::Auto);
    for code in [200, 401, 200, 401, 200] {
        let (turn, _) = take(&tokens, LIFE).await;
        tokens.answered(&turn.token, Some(code));
    }
    assert_eq!(tokens.usage(), Usage::Single);
    assert_eq!(take(&tokens, LIFE).await.1, 1);
    assert_eq!(take(&tokens, LIFE).await.1, 1);
}

#[tokio::test]
async fn a_token_refused_after_its_end_proves_nothing() {
    let tokens = Tokens::new(TokenUse::Auto);
    for code in [200, 401, 200, 401, 200] {
        let (turn, _) = take(&tokens, Duration::ZERO).await;
        tokens.answered(&turn.token, Some(code));
    }
    assert_eq!(tokens.usage(), Usage::Undecided);
}

#[tokio::test]
async fn a_status_request_does_not_spend_the_token_of_a_cancel() {
    let tokens = Tokens::new(TokenUse::Auto);
    let (turn, _) = take(&tokens, LIFE).await;
    let status = tokens.for_status(soon(), async || Ok(token(&tokens, LIFE, Instant::now()))).await.unwrap();
    assert_ne!(turn.token.number, status.number);
}

#[test]
fn a_token_is_never_shown() {
    let tokens = Tokens::new(TokenUse::Shared);
    let grant = Grant { access_token: "hidden-token".into(), life: LIFE };
    let token = tokens.issue(&grant, Instant::now()).unwrap();
    assert!(!format!("{token:?} {grant:?} {:?}", token.authorization()).contains("hidden"));
}

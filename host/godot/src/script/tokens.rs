//! What a few tokens of one line say: a name at a place, what is in parentheses, the text of all.

use super::lexer::{Token, TokenKind};
use crate::limits::NAME_BYTES_MAX;

pub(super) fn name_at<'a>(tokens: &[Token<'a>], index: usize) -> Option<&'a str> {
    match tokens.get(index)?.kind {
        TokenKind::Name(name) => Some(name),
        _ => None,
    }
}

pub(super) fn is_punctuation(token: Option<&Token<'_>>, sign: char) -> bool {
    token.is_some_and(|token| token.kind == TokenKind::Sign(sign))
}

/// The tokens between the parenthesis that `tokens` starts with and the one that closes it.
pub(super) fn parenthesised<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Sign('(' | '[' | '{') => depth += 1,
            TokenKind::Sign(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &tokens[1..index];
                }
            }
            _ => {}
        }
    }
    tokens.get(1..).unwrap_or_default()
}

/// Tokens as text on one line.
pub(super) fn show(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let glued = matches!(
            token.kind,
            TokenKind::Sign(',' | ':' | ')' | ']' | '.' | '(' | '[')
        ) || index > 0
            && matches!(
                tokens[index - 1].kind,
                TokenKind::Sign('(' | '[' | '.' | '-')
            );
        if index > 0 && !glued {
            out.push(' ');
        }
        match &token.kind {
            TokenKind::Name(name) => out.push_str(name),
            TokenKind::Annotation(name) => {
                out.push('@');
                out.push_str(name);
            }
            TokenKind::Text(text) => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            TokenKind::Number(number) => out.push_str(number),
            TokenKind::Sign(sign) => out.push(*sign),
            TokenKind::EndOfLine => {}
        }
        if out.len() > NAME_BYTES_MAX {
            break;
        }
    }
    out
}

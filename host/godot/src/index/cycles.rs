//! Cycles of a directed graph: its strongly connected components of more than one node, or with an edge to itself.
//!
//! Tarjan's algorithm, with its stack on the heap, so that a chain of 20,000 files is no deeper than one of two.

/// The cycles of the graph in which node `n` leads to `next[n]`; each sorted, and sorted by their first node.
pub(crate) fn cycles(next: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        next,
        order: vec![None; next.len()],
        low: vec![0; next.len()],
        on_stack: vec![false; next.len()],
        stack: Vec::new(),
        count: 0,
        found: Vec::new(),
    };
    for node in 0..next.len() {
        if search.order[node].is_none() {
            search.from(node);
        }
    }
    search.found.sort();
    search.found
}

struct Search<'a> {
    next: &'a [Vec<usize>],
    order: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    count: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn from(&mut self, start: usize) {
        // Each entry is a node and how many of its edges were followed.
        let mut path = vec![(start, 0)];
        self.enter(start);
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            if let Some(&to) = self.next[node].get(*edge) {
                *edge += 1;
                match self.order[to] {
                    None => {
                        self.enter(to);
                        path.push((to, 0));
                    }
                    Some(order) if self.on_stack[to] => self.low[node] = self.low[node].min(order),
                    Some(_) => {}
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                self.low[*parent] = self.low[*parent].min(self.low[node]);
            }
            if Some(self.low[node]) == self.order[node] {
                self.leave(node);
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.order[node] = Some(self.count);
        self.low[node] = self.count;
        self.count += 1;
        self.stack.push(node);
        self.on_stack[node] = true;
    }

    fn leave(&mut self, root: usize) {
        let mut members = Vec::new();
        while let Some(node) = self.stack.pop() {
            self.on_stack[node] = false;
            members.push(node);
            if node == root {
                break;
            }
        }
        if members.len() > 1 || self.next[root].contains(&root) {
            members.sort_unstable();
            self.found.push(members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cycles;

    fn check(edges: &[(usize, usize)], nodes: usize, expected: &[&[usize]]) {
        let mut next = vec![Vec::new(); nodes];
        for (from, to) in edges {
            next[*from].push(*to);
        }
        let expected: Vec<Vec<usize>> = expected.iter().map(|cycle| cycle.to_vec()).collect();
        assert_eq!(cycles(&next), expected, "for {edges:?}");
    }

    #[test]
    fn cycles_are_components_that_lead_back() {
        check(&[], 0, &[]);
        check(&[(0, 1), (1, 2)], 3, &[]);
        check(&[(0, 1), (1, 0)], 2, &[&[0, 1]]);
        check(&[(1, 1)], 2, &[&[1]]);
        check(
            &[(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 3)],
            5,
            &[&[0, 1, 2], &[3, 4]],
        );
        check(&[(0, 1), (0, 2), (1, 3), (2, 3)], 4, &[]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let count = 100_000;
        let edges: Vec<_> = (0..count).map(|node| (node, (node + 1) % count)).collect();
        let whole: Vec<usize> = (0..count).collect();
        check(&edges, count, &[&whole]);
    }
}
